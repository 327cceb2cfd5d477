"""What a diagnosis is asked: checks of its arguments, and the sizes of its subsamples."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import host_random, single
from earlytime._diagnosis_checks import check_network, check_optimizer
from earlytime._diagnosis_paths import NUM_KERNELS, Problem
from earlytime._labels import check_labels
from earlytime._networks import as_samples, check_independent, check_outputs, partition
from earlytime._validation import check_data, check_integer, check_positive, check_tolerances
from earlytime.trajectories import log_spaced_steps
from jaxtyping import PyTree

_NUM_RECORDS = 16
_KERNEL_SAMPLES = 256  # the largest eigenvalue over n settles there
# Samples that are measured: enough for an affine fit; derivatives of the outputs at the first of them.
_SAMPLES, _PER_INPUT, _MOST_SAMPLES = 1024, 10, 4096
# Entries of Jacobians that the first kernel may take, and those on the way together: seconds on two cores.
_ENTRIES = 1e9
_FEW_OUTPUTS = 3  # whose kernels are followed on the way


def make_problem(
    apply_fn,
    loss,
    x,
    y,
    features,
    outputs: tuple[int, ...],
    num_parameters: int,
    num_steps,
    optimizer,
    batch_size,
    tolerances,
    memory,
    key,
) -> Problem:
    """What every run shares, with the sizes of its subsamples."""
    x = as_samples("x", x)
    phi, num_outputs = _features(features, x), 1 if len(outputs) == 1 else outputs[1]
    num_chosen = min(len(x), max(_SAMPLES, min(_PER_INPUT * phi.shape[1], _MOST_SAMPLES)))
    num_kernel, num_turn = _kernel_sizes(num_chosen, num_outputs, num_parameters, float(memory))
    return Problem(
        apply_fn=apply_fn,
        loss=loss,
        x=x,
        y=jnp.asarray(y),
        chosen=host_random(key, 0).permutation(len(x))[:num_chosen],
        num_first=min(_SAMPLES, num_chosen),
        num_kernel=num_kernel,
        num_turn=num_turn,
        turning_fn=_few_outputs(apply_fn, num_outputs, key),
        features=phi,
        steps=log_spaced_steps(num_steps, _NUM_RECORDS),
        optimizer=optimizer,
        batch_size=None if batch_size is None or batch_size >= len(x) else int(batch_size),
        tolerances=check_tolerances(tolerances),
        key=key,
    )


def check_all(apply_fn, params, x, y, loss, optimizer, num_steps, batch_size, memory) -> tuple[int, ...]:
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


def all_starts(params, inits, checkpoints) -> list[tuple[PyTree, dict[int, PyTree] | None]]:
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


def _few_outputs(apply_fn, num_outputs: int, key) -> Callable:
    """f itself, or some orthogonal combinations of its many outputs, whose kernel is on average that of all."""
    if num_outputs <= _FEW_OUTPUTS:
        return apply_fn
    draw = host_random(key, 7).normal(size=(num_outputs, _FEW_OUTPUTS))
    combinations = jnp.asarray(np.linalg.qr(draw)[0], jnp.float32)
    return lambda params, x: single(apply_fn(params, x)) @ combinations


def _kernel_sizes(num_samples: int, num_outputs: int, num_parameters: int, memory: float) -> tuple[int, int]:
    """Samples of the kernel at the start, and of those on the way: as many as memory and patience allow."""
    most = min(_KERNEL_SAMPLES, num_samples, int(memory / (8 * num_parameters)))  # a Jacobian and its transpose
    first = min(most, int(_ENTRIES / (num_outputs * num_parameters)))
    way = min(first, int(_ENTRIES / ((NUM_KERNELS + 1) * min(num_outputs, _FEW_OUTPUTS) * num_parameters)))
    return max(first, min(8, num_samples)), max(way, min(8, num_samples))
