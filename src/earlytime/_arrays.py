"""Types of arguments: whatever JAX computes with, and lists where they are few numbers. And arrays as it computes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

AnyArray = Array | np.ndarray
Whole = int | np.integer
Real = float | np.floating | Float[AnyArray, ""]
Numbers = Sequence | Num[AnyArray, "..."]
Steps = Whole | Int[AnyArray, "..."] | Sequence[int]


def host_random(key, *path: int) -> np.random.Generator:
    """NumPy's random numbers from a key of JAX's, for what a program would not be worth; others for other paths."""
    is_key = jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key)
    return np.random.default_rng([*np.ravel(jax.random.key_data(key) if is_key else key).tolist(), *path])


def single(array) -> jax.Array:
    """An array of JAX's, in which floating-point numbers of fewer than 32 bits are float32, others as they are."""
    array = jnp.asarray(array)
    is_half = jnp.issubdtype(array.dtype, jnp.floating) and jnp.finfo(array.dtype).bits < 32
    return array.astype(jnp.float32) if is_half else array


def real(name: str, value, dtype=None) -> jax.Array:
    """An array of JAX's of floating-point numbers, float32 at least.

    Whole numbers get the dtype, or JAX's own; floating-point numbers too, where it has more bits than they.

    Raises:
        ValueError: complex numbers, or what is no number.
    """
    kind = jnp.result_type(value)
    if jnp.issubdtype(kind, jnp.integer) or jnp.issubdtype(kind, jnp.bool_):
        return jnp.asarray(value, jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(f"{name}: expected real numbers, got {kind}")
    value = single(value)
    return value if dtype is None or jnp.finfo(dtype).bits <= jnp.finfo(value.dtype).bits else value.astype(dtype)


def floating(name: str, value):
    """The array itself where it is floating-point of 32 bits or more, NumPy's stays NumPy's; else as in `real`."""
    kind = jnp.result_type(value)
    is_fine = jnp.issubdtype(kind, jnp.floating) and jnp.finfo(kind).bits >= 32
    return value if is_fine and hasattr(value, "dtype") else real(name, value)
