r"""One run of a network, measured: what `earlytime.diagnose` is made of."""

import itertools
import time
from collections.abc import Mapping
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np
from earlytime._arrays import host_random
from earlytime._diagnosis_checks import output_warnings
from earlytime._diagnosis_paths import (
    Escape,
    Path,
    Problem,
    find_escape,
    length,
    measure_path,
    start_kernel,
    trained_states,
)
from earlytime._networks import partition, slow_in_loops
from earlytime.curvature import gauss_newton
from earlytime.linear_ranges import linear_range, loss_range
from earlytime.nearest_kernels import NearestKernel, nearest_linear_kernel
from earlytime.spectral import spectral_norm
from jaxtyping import Float, PyTree

_NUM_MATVECS = 20
_NUM_NOISES = 3


class Limits(NamedTuple):
    r"""Which steps are safe at the start.

    Attributes:
        learning_rate: 2/λ_max of the Gauss-Newton matrix: plain gradient descent on this loss grows above it.
        residual: of λ_max, as a share of it; an eigenvalue is that near.
        learning_rate_used: of a run by plain gradient descent; NaN with an optimizer or checkpoints of the user's.
        first_update: the largest multiple of the first update at which the loss has not risen.
    """

    learning_rate: float
    residual: float
    learning_rate_used: float
    first_update: float


class Radius(NamedTuple):
    r"""How far from the start the network is linear in its parameters, for every tolerance.

    Attributes:
        distance: (t,) along the first update, at which the remainder reaches the tolerance.
        noise: (t,) the standard deviation of noise on every weight at which it does.
        size: ‖θ‖ at the start.
        noise_end: (t,) as noise, around the end of the run.
        weights_end: the root mean square of the weights there.
    """

    distance: Float[np.ndarray, " t"]
    noise: Float[np.ndarray, " t"]
    size: float
    noise_end: Float[np.ndarray, " t"]
    weights_end: float


class Run(NamedTuple):
    """What was measured from one start: see the single parts."""

    kernel: NearestKernel
    limits: Limits
    radius: Radius
    path: Path
    escape: dict[float, Escape]


class Clock:
    """Seconds of the parts, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str):
        """Add what happens inside to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start


def measure_run(
    problem: Problem, params: PyTree, checkpoints: Mapping[int, PyTree] | None, clock: Clock, bar
) -> tuple[Run, list[str]]:
    """Measure one start and the run from there.

    Args:
        problem: what all runs share.
        params: the start.
        checkpoints: the run itself, {step: params}; None: train.
        clock: of the parts.
        bar: a progress bar, moved once for each of three parts and of the recorded steps.

    Returns:
        The run, and warnings.

    Raises:
        ValueError: a first update that is 0, or a run that is not finite from its first step on.
    """
    x, y = problem.samples(problem.num_first)
    trained, rest = partition(params)
    with clock("kernel"):
        kernel = start_kernel(problem, params)
        nearest = nearest_linear_kernel(kernel, problem.features[problem.chosen[: problem.num_kernel]])
        bar.update()
    with clock("limits"):
        curvature = gauss_newton(problem.apply_fn, params, x, y, loss=problem.loss)
        slow = slow_in_loops(problem.apply_fn, trained, rest, x)
        top = (spectral_norm if slow else _spectral_norm)(curvature, key=problem.key, num_matvecs=_NUM_MATVECS)
        limit = 2 / float(top.value) if float(top.value) > 0 else float("inf")
        rate = limit / 4 if np.isfinite(limit) else 1.0
        bar.update()
    given = checkpoints is not None
    states = iter(sorted(checkpoints.items())) if checkpoints is not None else trained_states(problem, params, rate)
    with clock("training"):
        first = next(states, None)
    if first is None:
        raise ValueError("optimizer: training diverged at the first step; give one with a smaller rate")
    update = _difference(first[1], params)
    with clock("radius"):
        multiple = loss_range(problem.apply_fn, params, update, x, y, loss=problem.loss)
        bar.update()
    num_records = len(checkpoints) if checkpoints is not None else len(problem.steps) - 1
    states = itertools.chain([first], states)
    path, end, outputs = measure_path(problem, params, states, num_records, clock, bar)
    with clock("radius"):
        radius = _radius(problem, params, update, end, x)
    plain = not given and problem.optimizer is None
    limits = Limits(limit, float(top.residual / top.value), rate if plain else float("nan"), multiple)
    escape = {float(each): find_escape(path, each) for each in problem.tolerances}
    ended_early = len(path.steps) <= num_records
    notes = [f"the run is not finite after step {path.steps[-1]}, where the path ends"] if ended_early else []
    return Run(nearest, limits, radius, path, escape), output_warnings(outputs) + notes


_spectral_norm = jax.jit(spectral_norm, static_argnames="num_matvecs")


def _difference(params, start) -> PyTree:
    """θ - θ₀ as a pytree like the parameters."""
    (now, rest), (before, _) = partition(params), partition(start)
    return rest.join([np.asarray(a) - np.asarray(b) for a, b in zip(now, before, strict=True)])


def _radius(problem: Problem, params, update, end, x) -> Radius:
    tolerances = list(problem.tolerances)
    along = linear_range(problem.apply_fn, params, update, x, tolerances=tolerances)
    noise = [_noise_range(problem, there, x) for there in (params, end)]
    start, last = partition(params)[0], partition(end)[0]
    count = sum(leaf.size for leaf in start)
    return Radius(along.distances, noise[0], length(start), noise[1], length(last) / np.sqrt(count))


def _noise_range(problem: Problem, params, x) -> Float[np.ndarray, " t"]:
    """The standard deviation of noise for every tolerance: the median over a few draws, which differ by factors."""
    draw = host_random(problem.key, 4)
    tolerances = list(problem.tolerances)
    draws = [
        linear_range(problem.apply_fn, params, _noise(params, draw), x, tolerances=tolerances).multiples
        for _ in range(_NUM_NOISES)
    ]
    return np.median(draws, axis=0)


def _noise(params, draw) -> PyTree:
    """Standard normal numbers in the place of the parameters."""
    trained, rest = partition(params)
    return rest.join([draw.standard_normal(leaf.shape).astype(leaf.dtype) for leaf in trained])
