"""Several devices, of one process or of several."""

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import Real, Whole
from earlytime._shards import all_devices
from earlytime._validation import check_integer
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

_AXIS = "samples"


def shard_samples(arrays: PyTree) -> PyTree:
    """Spread samples over all devices: each holds as many, and no device holds them all.

    `train`, `tangent_kernel`, `two_layer_kernel`, `linear_kernel`, `spectral_norm`, `curvature.gauss_newton` and
    `krylov.krylov_dynamics` take spread arrays as any others, and work where the samples are: only gradients and sums
    travel. Arrays that the caller has spread along their first axis with `jax.device_put` are as good.

    Args:
        arrays: a pytree of arrays whose first axis is the samples, such as a `Task`. Of several processes each gives
            the same ones; only the rows of its own devices are read, so that a file mapped into memory
            (`numpy.load(..., mmap_mode="r")`) is not loaded as a whole.

    Returns:
        The same, spread. On one device, the arrays on it.

    Raises:
        ValueError: a number of samples that the number of devices does not divide.

    Example:
        >>> x = shard_samples(np.ones((16, 3)))
        >>> x.shape, len(x.sharding.device_set) == len(jax.devices())
        ((16, 3), True)
    """
    shards = all_devices(_AXIS)
    for leaf in jax.tree.leaves(arrays):
        rows = np.shape(leaf)[:1]
        if not rows or shards is not None and rows[0] % shards.count:
            count = 1 if shards is None else shards.count
            raise ValueError(
                f"arrays: expected a first axis that the {count} devices divide, got shape {np.shape(leaf)}"
            )
    if shards is None:
        return jax.device_put(arrays)
    spread = NamedSharding(shards.mesh, PartitionSpec(shards.axes))
    return jax.tree.map(lambda leaf: _put(leaf, spread), arrays)


def _put(leaf, sharding):
    if jax.process_count() == 1:
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda rows: np.asarray(leaf[rows], dtype))


def join(coordinator: str, num_processes: Whole, process: Whole, *, timeout: Real = 30) -> None:
    """Make one program of several processes: call it first, in each, with the same first two arguments.

    Afterwards `jax.devices()` are the devices of all, and each process makes the same calls. On a CPU, sums travel
    through gloo. If a process dies, JAX ends all others once it has not been heard for `timeout` seconds, with a
    message that names it and the exit status 134; a sum that is under way may fail at once, with `JaxRuntimeError`.
    Slurm and GPUs need none of it: `jax.distributed.initialize()` finds there what it needs.

    Args:
        coordinator: address and port of process 0, such as "127.0.0.1:8476".
        num_processes: how many there are.
        process: the number of this one, from 0.
        timeout: seconds.

    Raises:
        ValueError: numbers that cannot be; an address without a port.

    Example:
        >>> join("127.0.0.1", 2, 0)
        Traceback (most recent call last):
        ValueError: coordinator: expected ADDRESS:PORT, got '127.0.0.1'
    """
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise ValueError(f"coordinator: expected ADDRESS:PORT, got {coordinator!r}")
    check_integer("num_processes", num_processes, at_least=1)
    check_integer("process", process, at_least=0, at_most=num_processes - 1)
    if not timeout >= 1:
        raise ValueError(f"timeout: expected at least one second, got {timeout}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Only the address that was asked for is listened on, not all that the machine has.
    jax.distributed.initialize(
        coordinator,
        int(num_processes),
        int(process),
        coordinator_bind_address=coordinator if process == 0 else None,
        heartbeat_timeout_seconds=int(timeout),
    )
