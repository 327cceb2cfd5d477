"""A diagnosis in words: the verdict, what it decides, and the report as text and as JSON."""

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from earlytime.diagnosis import Diagnosis

# Pass marks.
_FIRST_UPDATE = 2.0
_SHARE_OF_FALL = 0.9
_TURN = 0.1
_AFFINE = 0.9


class Decision(NamedTuple):
    """A question that a diagnosis answers.

    Attributes:
        question: what is asked.
        number: what was measured, with its unit.
        mark: what it has to be.
        passed: whether it is; None where the number only informs.
    """

    question: str
    number: str
    mark: str
    passed: bool | None


def middle_tolerance(found: "Diagnosis") -> float:
    """The tolerance that the verdict speaks of: 0.1 of the usual ones."""
    return found.tolerances[len(found.tolerances) // 2]


def verdict(found: "Diagnosis") -> str:
    """Both answers: how long it is linear in its parameters, and how much of it is in the inputs."""
    tolerance = middle_tolerance(found)
    escapes = [run.escape[tolerance] for run in found.runs]
    last = int(found.path.steps[-1])
    until = f"in all of its {last} steps" if escapes[0].above is None else f"until step {_steps(escapes)}"
    share = _spread([100 * escape.share for escape in escapes])
    affine = _spread([100 * run.path.affine_share[-1] for run in found.runs])
    return (
        f"Linear in its parameters {until}, at a remainder below {tolerance:g}: {share} % of the loss's fall. "
        f"{affine} % of what it learned by step {last} is affine in x."
    )


def _steps(escapes) -> str:
    """The bracket of one start, or the middle and the range over several."""
    if len(escapes) == 1:
        return f"{escapes[0].step:.0f} ({escapes[0].below}–{escapes[0].above})"
    steps = np.round([escape.step for escape in escapes])
    return f"{_spread(steps)} over {len(escapes)} starts"


def _spread(values, digits: int = 3) -> str:
    """One number, or the median and the range of several."""
    values = np.asarray(values, float)
    text = _number(float(np.median(values)), digits)
    return text if len(values) == 1 else f"{text} ({_number(values.min(), digits)}–{_number(values.max(), digits)})"


def _number(value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.{digits}g}"


def decisions(found: "Diagnosis") -> list[Decision]:
    """What the numbers say about rates, warm-up and which theory applies."""
    tolerance = middle_tolerance(found)
    at = found.tolerances.index(tolerance)
    over = lambda get: [float(get(run)) for run in found.runs]
    rates = over(lambda run: run.limits.learning_rate)
    used = over(lambda run: run.limits.learning_rate_used)
    firsts = over(lambda run: run.limits.first_update)
    shares = over(lambda run: run.escape[tolerance].share)
    turns = over(lambda run: last_value(run.path.kernel_turn))
    noises = over(lambda run: run.radius.noise_end[at])
    weights = over(lambda run: run.radius.weights_end)
    affine = over(lambda run: last_value(run.path.affine_share))
    residual = max(over(lambda run: run.limits.residual))
    known = not any(map(math.isnan, used))
    warm_up = max(math.ceil(_FIRST_UPDATE / first) if first > 0 else math.inf for first in firsts)
    needed = min(firsts) < _FIRST_UPDATE
    ramp = f"{warm_up} steps" if math.isfinite(warm_up) else "no ramp helps: the loss rises at once"
    return [
        Decision(
            "Up to which rate is gradient descent stable at the start?",
            f"{_spread(rates)} (2/λ of the Gauss-Newton matrix, residual {residual:.1g} of λ)",
            f"the rate used, {_spread(used)}, is below" if known else "for plain gradient descent on this loss",
            max(used) < min(rates) if known else None,
        ),
        Decision(
            "How much larger could the first update be?",
            f"{_spread(firsts)} times, before the loss rises",
            f"at least {_FIRST_UPDATE:g}",
            not needed,
        ),
        Decision(
            "How long a warm-up?",
            ramp if needed else "none needed",
            f"a linear ramp, so that the first update is at most 1/{_FIRST_UPDATE:g} of that",
            None,
        ),
        Decision(
            "Does the linear model around the start (NTK theory) describe training?",
            f"{_spread([100 * share for share in shares])} % of the loss's fall at a remainder below {tolerance:g}",
            f"at least {100 * _SHARE_OF_FALL:g} %",
            min(shares) >= _SHARE_OF_FALL,
        ),
        Decision(
            "Do its features stay (linear probes, linearized fine-tuning)?",
            f"the kernel turned by {_spread(turns)} (1 - CKA)",
            f"at most {_TURN:g}",
            max(turns) <= _TURN,
        ),
        Decision(
            "Does a linearized Laplace approximation hold where training ended?",
            f"linear up to noise of {_spread(noises)} on every weight",
            f"at least the weights' own size, {_spread(weights)}: a prior's width",
            all(noise >= size for noise, size in zip(noises, weights)),
        ),
        Decision(
            "Did it learn what an affine model of the inputs learns?",
            f"{_spread([100 * share for share in affine])} % of what it learned (R² on samples left out)",
            f"at least {100 * _AFFINE:g} %",
            min(affine) >= _AFFINE,
        ),
    ]


def last_value(values) -> float:
    """The last entry that is a number; NaN if there is none."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known[-1]) if len(known) else math.nan


def assumptions(found: "Diagnosis") -> list[Decision]:
    """What the papers assume of the inputs, against what was measured."""
    data, marks = found.data, []
    for question, value, low, high, mark in (
        ("‖x‖²/d, the mean", data.mean_square, 0.5, 2.0, "1, here between 0.5 and 2"),
        ("spread of ‖x‖²/d", data.norm_spread, 0.0, 0.3, "of order 1/√d, here at most 0.3"),
        ("cosines between inputs, root mean square", data.rms_cosine, 0.0, 0.3, "of order 1/√d, here at most 0.3"),
        ("effective dimension over d", data.effective_dim / data.dim, 0.1, math.inf, "of order 1, here at least 0.1"),
        ("share of the mean in ‖x‖²", data.mean_share, 0.0, 0.05, "0, here at most 0.05"),
        ("largest over smallest column", data.scale_ratio, 0.0, 10.0, "here at most 10"),
    ):
        marks.append(Decision(question, _number(value), mark, low <= value <= high))
    return marks


def facts(found: "Diagnosis") -> list[tuple[str, str]]:
    """The other numbers, by name."""
    run, over = found.runs[0], lambda get: _spread([float(get(each)) for each in found.runs])
    spectrum = ", ".join(f"{value:.2g}" for value in run.kernel.spectrum[:8])
    radii = zip(found.tolerances, range(len(found.tolerances)))
    return [
        (
            "Kernel at the start",
            f"nearest affine kernel a ΦΦᵀ/d + b 11ᵀ with a = {over(lambda r: r.kernel.linear)}, "
            f"b = {over(lambda r: r.kernel.constant)}; gap {over(lambda r: r.kernel.gap)}, off the mean direction "
            f"{over(lambda r: r.kernel.centered_gap)}; CKA {over(lambda r: r.kernel.alignment)}",
        ),
        ("Its spectrum, over n", spectrum),
        (
            "Linear radius",
            "; ".join(
                f"{tolerance:g}: {over(lambda r: r.radius.distance[i])} along the update, "
                f"noise {over(lambda r: r.radius.noise[i])}"
                for tolerance, i in radii
            )
            + f"; ‖θ‖ = {over(lambda r: r.radius.size)}",
        ),
        ("Kernel at the end", f"grew to {over(lambda r: last_value(r.path.kernel_scale))} of itself"),
        (
            "Best affine predictor",
            f"loss {_number(found.baseline.train_loss)}, on samples left out "
            f"{_number(found.baseline.held_out_loss)}; the network's {over(lambda r: r.path.loss[0])} → "
            f"{over(lambda r: r.path.loss[-1])}",
        ),
        ("Rounding", f"remainders below {_number(np.nanmax(run.path.remainder_floor))} are rounding"),
        ("Chance", f"an affine share of {_number(np.nanmax(run.path.affine_floor))} is chance"),
        ("Sizes", ", ".join(f"{name} {value}" for name, value in found.sizes.items())),
        ("Seconds", ", ".join(f"{name} {value:.1f}" for name, value in found.seconds.items())),
        ("Made with", ", ".join(f"{name} {value}" for name, value in found.versions.items())),
    ]


def as_text(found: "Diagnosis") -> str:
    """The whole report in lines."""
    sign = {True: "yes", False: "no", None: "-"}
    rows = [
        f"  [{sign[each.passed]:>3}] {each.question}\n        {each.number}; {each.mark}"
        for each in [*decisions(found), *assumptions(found)]
    ]
    parts = [verdict(found), *(f"warning: {text}" for text in found.warnings), *rows]
    return "\n".join([*parts, *(f"{name}: {text}" for name, text in facts(found))])


def as_json(found: "Diagnosis") -> str:
    """Every number, the verdict and the decisions; what is not finite is null."""
    whole = {"verdict": verdict(found), "decisions": decisions(found), "assumptions": assumptions(found)}
    return json.dumps(plain(whole | vars(found)), indent=1, allow_nan=False)


def plain(value) -> Any:
    """What JSON can hold."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
