r"""How linear a network is: in its parameters, for how long, and in its inputs.

The measures of the papers that the book is about, made for any JAX network, data and optimizer; nothing is trained
twice. `diagnose` is a minute's work for a network of 10⁶ parameters.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers, Real, Whole, host_random
from earlytime._diagnosis_checks import check_network, check_optimizer, data_warnings, input_warnings
from earlytime._diagnosis_paths import Escape as Escape
from earlytime._diagnosis_paths import Path as Path
from earlytime._diagnosis_paths import Problem
from earlytime._diagnosis_runs import Clock, measure_run
from earlytime._diagnosis_runs import Limits as Limits
from earlytime._diagnosis_runs import Radius as Radius
from earlytime._diagnosis_runs import Run as Run
from earlytime._labels import check_labels
from earlytime._networks import as_samples, check_independent, check_outputs, partition
from earlytime._validation import check_data, check_integer, check_positive, check_tolerances
from earlytime.affine_fits import AffineBaseline, affine_baseline
from earlytime.input_statistics import InputStatistics, input_statistics
from earlytime.losses import Loss
from earlytime.nearest_kernels import NearestKernel
from earlytime.trajectories import log_spaced_steps
from jaxtyping import Num, PRNGKeyArray, PyTree
from tqdm import tqdm  # type: ignore[import-untyped]

_NUM_RECORDS = 16
_KERNEL_SAMPLES = 256  # the largest eigenvalue over n settles there
# Samples that are measured: enough for an affine fit.
_SAMPLES, _PER_INPUT, _MOST_SAMPLES = 1024, 10, 4096
# Multiply-adds that the first kernel may take, and those on the way together.
_KERNEL_WORK = 3e11


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
        >>> 0 < found.radius.distance[0] < found.radius.distance[1]
        True
    """
    clock = Clock()
    shape = _check(apply_fn, params, x, y, loss, optimizer, num_steps, batch_size, memory)
    starts = _starts(params, inits, checkpoints)
    x, key = as_samples("x", x), jax.random.key(0) if key is None else key
    phi = _features(features, x)
    num_parameters = sum(leaf.size for leaf in partition(params)[0])
    num_outputs = 1 if len(shape) == 1 else shape[1]
    num_records = _NUM_RECORDS if checkpoints is None else len(checkpoints)
    num_chosen = min(len(x), max(_SAMPLES, min(_PER_INPUT * phi.shape[1], _MOST_SAMPLES)))
    num_kernel, num_turn = _kernel_sizes(num_chosen, num_parameters * num_outputs, num_parameters, float(memory))
    chosen = host_random(key, 0).permutation(len(x))[:num_chosen]
    problem = Problem(
        apply_fn,
        loss,
        x,
        jnp.asarray(y),
        chosen,
        num_kernel,
        num_turn,
        phi,
        log_spaced_steps(num_steps, num_records),
        optimizer,
        None if batch_size is None or batch_size >= len(x) else int(batch_size),
        check_tolerances(tolerances),
        key,
    )
    with clock("data"):
        data = input_statistics(phi)
        k = None if len(shape) == 1 else num_outputs
        baseline = affine_baseline(phi, problem.y, loss=loss, num_outputs=k, key=key)
    warnings = input_warnings(x, features) + data_warnings(data)
    steps = len(problem.steps) - 1 if checkpoints is None else len(starts[0][1] or {})
    runs = []
    with tqdm(total=len(starts) * (3 + steps), disable=not progress, desc="diagnose") as bar:
        for start, own in starts:
            run, notes = measure_run(problem, start, own, clock, bar)
            runs.append(run)
            warnings += notes
    sizes = {
        "samples": len(x),
        "inputs": phi.shape[1],
        "outputs": num_outputs,
        "parameters": num_parameters,
        "samples measured": num_chosen,
        "samples of the kernel": num_kernel,
        "samples of the kernel on the way": num_turn,
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


def _check(apply_fn, params, x, y, loss, optimizer, num_steps, batch_size, memory) -> tuple[int, ...]:
    """The shape of the outputs; raises for what cannot be diagnosed."""
    check_data(x, y, several=True)
    if np.shape(x)[0] < 8:
        raise ValueError(f"x: expected at least 8 samples, got {np.shape(x)[0]}")
    check_integer("num_steps", num_steps, at_least=1)
    if batch_size is not None:
        check_integer("batch_size", batch_size, at_least=1)
    check_positive("memory", memory)
    check_optimizer(optimizer)
    check_network(apply_fn, params, x)
    trained, rest = partition(params)
    samples = as_samples("x", x)
    outputs = check_outputs(apply_fn, trained, rest, samples)
    check_labels(loss, outputs, y)
    check_independent(apply_fn, trained, rest, samples)
    return outputs.shape


def _starts(params, inits, checkpoints) -> list[tuple[PyTree, dict[int, PyTree] | None]]:
    """Every start, and the run from there if it is given."""
    if checkpoints is None:
        return [(start, None) for start in [params, *(inits or [])]]
    if inits is not None:
        raise ValueError("inits: given with checkpoints, which are one run from one start")
    shapes = [leaf.shape for leaf in partition(params)[0]]
    for step, there in checkpoints.items():
        check_integer("checkpoints", step, at_least=0)
        if [leaf.shape for leaf in partition(there, name="checkpoints")[0]] != shapes:
            raise ValueError(f"checkpoints: expected parameters of the shapes of params, got others at step {step}")
    run = {int(step): there for step, there in sorted(checkpoints.items()) if step > 0}
    if not run:
        raise ValueError("checkpoints: expected at least one after step 0")
    return [(checkpoints.get(0, params), run)]


def _features(features, x) -> np.ndarray:
    phi = np.asarray(x if features is None else features(x), np.float64)
    if phi.shape[:1] != x.shape[:1] or (features is not None and phi.ndim != 2):
        raise ValueError(f"features: expected shape ({len(x)}, d), got {phi.shape}")
    return phi.reshape(len(x), -1)


def _kernel_sizes(num_samples: int, work: int, num_parameters: int, memory: float) -> tuple[int, int]:
    """Samples of the kernel at the start, and of those on the way: as many as memory and patience allow."""
    in_memory = int(memory / (8 * num_parameters))  # a Jacobian and its transpose
    first = min(_KERNEL_SAMPLES, num_samples, in_memory, int((_KERNEL_WORK / work) ** 0.5))
    way = min(first, int((_KERNEL_WORK / (7 * work)) ** 0.5))
    return max(first, min(8, num_samples)), max(way, min(8, num_samples))


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("earlytime", "jax")}
    device = jax.devices()[0]
    return packages | {"python": platform.python_version(), "device": f"{device.platform} ({device.device_kind})"}
