"""Work through the samples block by block, so that the hidden layer of all of them never exists."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped


def along(table: Float[Array, "..."], values) -> Shaped[Array, "..."]:
    """The values with axes in front, until there are as many as the table has."""
    values = jnp.asarray(values)
    return values.reshape((1,) * (table.ndim - values.ndim) + values.shape)


def split_blocks(tree, block_size: int):
    """Cut (n, ...) arrays into (num_blocks, size, ...), padded with zeros.

    Returns:
        The cut tree, and the weights (num_blocks, size): 1 for a sample, 0 for padding.
    """
    n = jax.tree.leaves(tree)[0].shape[0]
    num_blocks = -(-n // block_size)
    size = -(-n // num_blocks)  # blocks of equal size, so that there is little padding
    padding = num_blocks * size - n

    def cut(a):
        padded = jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))
        return padded.reshape(num_blocks, size, *a.shape[1:])

    return jax.tree.map(cut, tree), cut(jnp.ones(n))


def map_blocks(f: Callable, x, block_size: int):
    """f(x) for an f that treats samples alike, one block at a time; (n, ...) -> (n, ...)."""
    n = x.shape[0]
    if n <= block_size:
        return f(x)
    blocks, _ = split_blocks(x, block_size)
    out = jax.lax.map(jax.checkpoint(f), blocks)  # a derivative recomputes the hidden layer
    return out.reshape(-1, *out.shape[2:])[:n]


def sum_blocks(f: Callable, tree, block_size: int):
    """The sum over blocks of f(block, weights), where f returns any pytree."""
    blocks, weights = split_blocks(tree, block_size)
    if weights.shape[0] == 1:
        return f(jax.tree.map(lambda a: a[0], blocks), weights[0])

    def add(total, block):
        return jax.tree.map(jnp.add, total, f(*block)), None

    example = jax.eval_shape(f, *jax.tree.map(lambda a: a[0], (blocks, weights)))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), example)
    total, _ = jax.lax.scan(add, zero, (blocks, weights))
    return total
