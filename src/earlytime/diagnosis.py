r"""How linear a network is: in its parameters, for how long, and in its inputs.

The measures of the papers that the book is about, made for any JAX network, data and optimizer; nothing is trained
twice. `diagnose` is a minute's work for a network of 10⁶ parameters.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import jax
from earlytime._arrays import AnyArray, Numbers, Real, Whole
from earlytime._diagnosis_checks import data_warnings, input_warnings
from earlytime._diagnosis_paths import Escape as Escape
from earlytime._diagnosis_paths import Path as Path
from earlytime._diagnosis_problem import all_starts, check_all, make_problem
from earlytime._diagnosis_runs import Clock, measure_run
from earlytime._diagnosis_runs import Limits as Limits
from earlytime._diagnosis_runs import Radius as Radius
from earlytime._diagnosis_runs import Run as Run
from earlytime._labels import Loss
from earlytime._networks import partition
from earlytime._versions import version_of
from earlytime.affine_fits import AffineBaseline, affine_baseline
from earlytime.input_statistics import InputStatistics, input_statistics
from earlytime.nearest_kernels import NearestKernel
from jaxtyping import Num, PRNGKeyArray, PyTree
from tqdm import tqdm  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        runs: one for params, and one for each of inits.
        tolerances: (t,).
        baseline: the best affine predictor's loss.
        data: what the papers assume of the inputs (or features), measured.
        sizes: numbers of samples, parameters, outputs, and what was subsampled.
        seconds: what each part took.
        warnings: texts.
        versions: of earlytime, JAX and Python, and the device.
    """

    runs: tuple[Run, ...]
    tolerances: tuple[float, ...]
    baseline: AffineBaseline
    data: InputStatistics
    sizes: Mapping[str, int]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def kernel(self) -> NearestKernel:
        """The tangent kernel at the start against the nearest kernel of an affine model."""
        return self.runs[0].kernel

    @property
    def limits(self) -> Limits:
        """Which steps are safe at the start."""
        return self.runs[0].limits

    @property
    def radius(self) -> Radius:
        """How far from the start the network is linear in its parameters."""
        return self.runs[0].radius

    @property
    def path(self) -> Path:
        """What was measured at the recorded steps."""
        return self.runs[0].path

    @property
    def escape(self) -> dict[float, Escape]:
        """When the network left the linear model, for every tolerance."""
        return self.runs[0].escape

    @property
    def verdict(self) -> str:
        """Both answers in two sentences."""
        from earlytime._diagnosis_report import verdict

        return verdict(self)

    def summary(self) -> str:
        """The report as a text."""
        from earlytime._diagnosis_report import as_text

        return as_text(self)

    def plot(self):
        """The report's three panels as a matplotlib Figure."""
        from earlytime.diagnosis_plots import plot_diagnoses

        return plot_diagnoses([self])

    def to_json(self, path: str | FilePath) -> None:
        """Write every number to a file; what is not finite is null."""
        from earlytime._diagnosis_report import as_json

        FilePath(path).write_text(as_json(self), encoding="utf-8")

    def to_html(self, path: str | FilePath, *, title: str = "How linear is this network?") -> None:
        """Write the report as one page, which needs no other file and no script."""
        from earlytime._diagnosis_html import as_html

        FilePath(path).write_text(as_html(self, title), encoding="utf-8")


def diagnose(
    apply_fn: Callable,
    params: PyTree,
    x: Num[AnyArray, "n ..."],
    y: AnyArray,
    *,
    loss: Loss = "squared",
    optimizer: Any = None,
    checkpoints: Mapping[int, PyTree] | None = None,
    features: Callable | None = None,
    inits: Sequence[PyTree] | None = None,
    num_steps: Whole = 300,
    batch_size: Whole | None = 256,
    tolerances: Numbers = (0.05, 0.1, 0.3),
    memory: Real = 1.5e9,
    key: PRNGKeyArray | None = None,
    progress: bool = True,
) -> Diagnosis:
    r"""Measure how linear a network is, in its parameters and in its inputs, and for how long.

    The network is trained once, or followed through checkpoints of yours. At recorded steps its distance from the
    Taylor expansion around the start is measured at the network's own parameters,

    $$\frac{\|f_t - f_0 - J\,(\theta_t - \theta_0)\|}{\|f_t - f_0\|},$$

    with one Jacobian-vector product, whatever the optimizer; and the share of f_t - f_0 that is affine in the inputs.
    These two are different: a network may be linear in its parameters and learn what is not linear in x.

    Source: the measures are those of Hu et al. 2020, Lee et al. 2019 and Liu et al. 2020; the choice is the book's.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k), in evaluation mode.
        params: the start, any pytree, as in `earlytime.train`.
        x: (n, ...) inputs, n >= 8.
        y: labels as in `earlytime.train`.
        loss: as in `earlytime.train`.
        optimizer: any transformation of optax's; None: gradient descent at a quarter of the limit.
        checkpoints: {step: params} of a run of yours, which begins at `params`; then nothing is trained.
        features: x -> (n, d) numbers that stand for the inputs where they are not vectors; None: x itself, as rows.
        inits: other starts, of which all is measured too: then there are ranges in place of single numbers.
        num_steps: how long to train.
        batch_size: samples of a step; None: all.
        tolerances: remainders at which the network counts as not linear any more, increasing.
        memory: bytes that a Jacobian may take.
        key: random key of subsamples, batches and noise; None: key 0.
        progress: whether to show how far it is.

    Returns:
        Diagnosis; `.summary()`, `.plot()`, `.to_html(path)`, `.to_json(path)`.

    Raises:
        ValueError: naming the argument or the leaf, and what to do: a state among the parameters, outputs that depend
            on the batch or on chance, a function of one sample, outputs of three axes; and as `earlytime.train`.

    Example:
        >>> from earlytime import sample_task, two_layer
        >>> network, task = two_layer(4, 64, "tanh"), sample_task(jax.random.key(0), 64, 8, 4)
        >>> found = diagnose(network.apply, network.init(jax.random.key(1)), task.x, task.y,
        ...                  num_steps=20, progress=False)
        >>> bool(0 < found.radius.distance[0] < found.radius.distance[1])
        True
    """
    clock = Clock()
    key = jax.random.key(0) if key is None else key
    outputs = check_all(apply_fn, params, x, y, loss, optimizer, num_steps, batch_size, memory)
    starts = all_starts(params, inits, checkpoints)
    num_parameters = sum(leaf.size for leaf in partition(params)[0])
    problem = make_problem(
        apply_fn,
        loss,
        x,
        y,
        features,
        outputs,
        num_parameters,
        num_steps,
        optimizer,
        batch_size,
        tolerances,
        memory,
        key,
    )
    phi, k = problem.features, None if len(outputs) == 1 else outputs[1]
    with clock("data"):
        data = input_statistics(phi)
        baseline = affine_baseline(phi, problem.y, loss=loss, num_outputs=k, key=key)
    warnings = input_warnings(problem.x, features) + data_warnings(data)
    steps = len(problem.steps) - 1 if checkpoints is None else len(starts[0][1] or {})
    runs = []
    with tqdm(total=len(starts) * (3 + steps), disable=not progress, desc="diagnose") as bar:
        for start, own in starts:
            run, notes = measure_run(problem, start, own, clock, bar)
            runs.append(run)
            warnings += notes
    sizes = {
        "samples": len(problem.x),
        "inputs": phi.shape[1],
        "outputs": k or 1,
        "parameters": num_parameters,
        "samples measured": len(problem.chosen),
        "samples for derivatives": problem.num_first,
        "samples of the kernel": problem.num_kernel,
        "samples of the kernel on the way": problem.num_turn,
    }
    return Diagnosis(
        tuple(runs),
        tuple(float(each) for each in problem.tolerances),
        baseline,
        data,
        sizes,
        clock.seconds,
        tuple(dict.fromkeys(warnings)),
        _versions(),
    )


def _versions() -> dict[str, str]:
    packages = {name: version_of(name) for name in ("earlytime", "jax")}
    device = jax.devices()[0]
    return packages | {"python": platform.python_version(), "device": f"{device.platform} ({device.device_kind})"}
