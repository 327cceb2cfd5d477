r"""A network's path through training, measured at its own parameters against the expansion around the start."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, host_random
from earlytime._blocks import fitting_block, map_blocks
from earlytime._labels import Loss, as_labels
from earlytime._networks import applied, partition
from earlytime.affine_fits import affine_share
from earlytime.gradient_descent import train
from earlytime.kernels import averaged_kernel
from earlytime.losses import resolve_loss
from earlytime.nearest_kernels import kernel_turn
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

NUM_KERNELS = 6  # along a path


class Path(NamedTuple):
    r"""What was measured at the recorded steps; NaN where something has no value, as at the start.

    Attributes:
        steps: (r,) the first is the start.
        loss: (r,) the mean over the samples that are measured.
        remainder: (r,) ‖f_t - f₀ - JΔ_t‖/‖f_t - f₀‖, Δ_t = θ_t - θ₀, at the network's own parameters.
        remainder_floor: (r,) what rounding alone makes of it.
        affine_share: (r,) R² of f_t - f₀ by an affine function of the inputs, on samples left out.
        affine_floor: (r,) the same with the inputs of other samples.
        kernel_change: (r,) ‖K_t - K₀‖/‖K₀‖, Frobenius norms, as `earlytime.kernels.kernel_change`.
        kernel_scale: (r,) how much the kernel grew, off the direction of the ones.
        kernel_turn: (r,) 1 - centered alignment (CKA) with the kernel at the start.
        turn_floor: what rounding alone makes of the turn.
        distance: (r,) ‖θ_t - θ₀‖.
    """

    steps: Int[np.ndarray, " r"]
    loss: Float[np.ndarray, " r"]
    remainder: Float[np.ndarray, " r"]
    remainder_floor: Float[np.ndarray, " r"]
    affine_share: Float[np.ndarray, " r"]
    affine_floor: Float[np.ndarray, " r"]
    kernel_change: Float[np.ndarray, " r"]
    kernel_scale: Float[np.ndarray, " r"]
    kernel_turn: Float[np.ndarray, " r"]
    turn_floor: float
    distance: Float[np.ndarray, " r"]


class Escape(NamedTuple):
    """When the remainder reached a tolerance.

    Attributes:
        below: the last recorded step before.
        above: the first recorded step after; None: never in this run.
        step: between the two, with the remainder as a power law of the step; infinite: never in this run.
        share: of the loss's fall over the run, by then; NaN where the loss did not fall.
    """

    below: int
    above: int | None
    step: float
    share: float


class Problem(NamedTuple):
    """What every run shares.

    Attributes:
        apply_fn, loss: the user's.
        x, y: (n, ...) all samples, for training.
        chosen: the samples whose outputs are measured; of them the first `num_first` for derivatives, and the first
            `num_kernel`, or `num_turn` on the way, for kernels.
        turning_fn: f, or a few fixed combinations of its outputs where these are many, for kernels on the way.
        features: (n, d) what stands for the inputs.
        steps: to record, the first is 0.
        optimizer: a transformation of optax's, or None.
        batch_size: of training.
        tolerances: (t,).
        key: of everything that is random.
    """

    apply_fn: Callable
    loss: Loss
    x: Array
    y: Array
    chosen: Int[np.ndarray, " m"]
    num_first: int
    num_kernel: int
    num_turn: int
    turning_fn: Callable
    features: AnyArray
    steps: tuple[int, ...]
    optimizer: Any
    batch_size: int | None
    tolerances: Float[np.ndarray, " t"]
    key: PRNGKeyArray

    def samples(self, count: int | None = None) -> tuple[Array, Array]:
        """The inputs and labels that are measured, or the first of them."""
        chosen = self.chosen[:count]
        return jnp.asarray(np.asarray(self.x)[chosen]), jnp.asarray(np.asarray(self.y)[chosen])


def trained_states(problem: Problem, params, rate) -> Iterator[tuple[int, PyTree]]:
    """(step, params) at the recorded steps of a run, the start left out; it ends where the run diverges."""
    how: dict[str, Any] = {"learning_rate": rate} if problem.optimizer is None else {"optimizer": problem.optimizer}
    batches: dict[str, Any] = {"batch_size": problem.batch_size, "key": problem.key}
    state = None
    for step in problem.steps[1:]:
        run = train(
            problem.apply_fn,
            params,
            problem.x,
            problem.y,
            num_steps=step,
            record_steps=(step,),
            loss=problem.loss,
            summarize=_nothing,
            state=state,
            **how,
            **(batches if problem.batch_size else {}),
        )
        state = run.state
        if int(run.diverged_at) >= 0:
            return
        yield step, run.params


def _nothing(outputs):
    return jnp.zeros(())


def start_kernel(problem: Problem, params) -> Float[np.ndarray, "m m"]:
    """The tangent kernel on the first of the samples that are measured, averaged over outputs."""
    samples = np.asarray(problem.x)[problem.chosen[: problem.num_kernel]]
    return np.asarray(averaged_kernel(problem.apply_fn, params, samples))


def _kernel_on_the_way(problem: Problem, params) -> Float[np.ndarray, "m m"]:
    samples = np.asarray(problem.x)[problem.chosen[: problem.num_turn]]
    return np.asarray(averaged_kernel(problem.turning_fn, params, samples))


def length(leaves) -> float:
    """The norm of several arrays together."""
    return float(np.sqrt(sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in leaves)))


@functools.partial(jax.jit, static_argnames=("apply_fn", "loss_fn", "block_size", "num_first"))
def _expansion(start, rest, now, x, y, *, apply_fn, loss_fn, block_size, num_first):
    """f at θ_t, the first-order change JΔ_t of the first samples, and the loss."""
    f = applied(apply_fn, rest)
    change = [a - b for a, b in zip(now, start)]
    outputs = map_blocks(lambda block: f(now, block), x, block_size)
    push = lambda block: jax.jvp(lambda p: f(p, block), (start,), (change,))[1]
    return outputs, map_blocks(push, x[:num_first], block_size), jnp.mean(loss_fn(outputs, y))


def measure_path(problem: Problem, params, states, num_records: int, clock, bar):
    """Measure (step, params) one after the other, until they end or are not finite.

    Returns:
        The path, the last params, and the outputs at the start.
    """
    x, y = problem.samples()
    trained, rest = partition(params)
    outputs = jax.eval_shape(lambda p, x: problem.apply_fn(rest.join(p), x), trained, x)
    expand = functools.partial(
        _expansion,
        trained,
        rest,
        x=x,
        y=as_labels(problem.loss, outputs, y),
        apply_fn=problem.apply_fn,
        loss_fn=resolve_loss(problem.loss),
        num_first=problem.num_first,
        block_size=fitting_block(functools.partial(applied(problem.apply_fn, rest), trained), x),
    )
    with clock("path"):
        f_0, _, loss_0 = (np.asarray(each, np.float64) for each in expand(trained))
        rounded = _rounded(trained, problem.key)
        noise = np.linalg.norm((np.asarray(expand(rounded)[0], np.float64) - f_0)[: problem.num_first])
    with clock("kernel"):
        kernel_0 = _kernel_on_the_way(problem, params)
        floor = kernel_turn(_kernel_on_the_way(problem, rest.join(rounded)), kernel_0).turn
    rows, changes, kernels, end = [], [], {}, params
    with_kernel = set(np.linspace(0, num_records - 1, NUM_KERNELS).astype(int))
    while True:
        with clock("training"):
            state = next(states, None)
        if state is None:
            break
        step, here = state
        now = partition(here)[0]
        with clock("path"):
            f_t, first_order, loss = (np.asarray(each, np.float64) for each in expand(now))
            if not np.all(np.isfinite(f_t)):
                break
            change = f_t - f_0
            size = np.linalg.norm(change[: problem.num_first])
            remainder = np.linalg.norm(change[: problem.num_first] - first_order)
            distance = length([np.asarray(a, np.float64) - np.asarray(b) for a, b in zip(now, trained)])
            rows.append((step, loss, _over(remainder, size), _over(noise, size), distance))
            changes.append(change.reshape(len(f_0), -1))
            end = here
        if len(rows) - 1 in with_kernel:
            with clock("kernel"):
                kernels[len(rows)] = _kernel_on_the_way(problem, here)
        bar.update()
    return _as_path(problem, rows, changes, kernels, kernel_0, float(loss_0), floor), end, f_0


def _as_path(problem: Problem, rows, changes, kernels, kernel_0, loss_0, floor) -> Path:
    steps, loss, remainder, remainder_floor, distance = (
        np.array([first, *column]) for first, column in zip((0, loss_0, np.nan, np.nan, 0.0), zip(*rows, strict=True))
    )
    shares = affine_share(problem.features[problem.chosen], np.stack(changes), key=problem.key)
    change, scale, turn = (np.full(len(steps), np.nan) for _ in range(3))
    change[0], scale[0], turn[0] = 0.0, 1.0, 0.0
    for row, kernel in kernels.items():
        scale[row], turn[row] = kernel_turn(kernel, kernel_0)
        change[row] = np.linalg.norm(kernel - kernel_0) / np.linalg.norm(kernel_0)
    return Path(
        steps.astype(int),
        loss,
        remainder,
        remainder_floor,
        np.append(np.nan, shares.share),
        np.append(np.nan, shares.floor),
        change,
        scale,
        turn,
        floor,
        distance,
    )


def _rounded(trained, key) -> list:
    """Parameters beside these, as far away as rounding puts them."""
    draw = host_random(key, 6)
    leaves = [np.asarray(leaf) for leaf in trained]
    signs = [draw.choice(np.array([-1, 1], leaf.dtype), leaf.shape) for leaf in leaves]
    return [jnp.asarray(leaf * (1 + jnp.finfo(leaf.dtype).eps * sign)) for leaf, sign in zip(leaves, signs)]


def _over(numerator, denominator) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")


def find_escape(path: Path, tolerance: float) -> Escape:
    """When the remainder of a path first reached a tolerance, and what share of the loss's fall was done by then."""
    above = np.flatnonzero(path.remainder >= tolerance)
    fall = path.loss[0] - np.nanmin(path.loss)
    if not above.size:
        return Escape(int(path.steps[-1]), None, float("inf"), 1.0 if fall > 0 else float("nan"))
    right = int(above[0])
    left = right - 1
    low, high = path.steps[left], path.steps[right]
    before = path.remainder[left]
    if left == 0 or not before > 0:
        share, step = 0.0, float(low)
    else:
        share = float(np.log(tolerance / before) / np.log(path.remainder[right] / before))
        step = float(low * (high / low) ** share)
    reached = path.loss[left] + share * (path.loss[right] - path.loss[left])
    done = float((path.loss[0] - reached) / fall) if fall > 0 else float("nan")
    return Escape(int(low), int(high), step, done)
