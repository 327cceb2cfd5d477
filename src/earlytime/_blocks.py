"""Work through the samples block by block, so that the hidden layer of all of them never exists."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray
from earlytime._chunks import drawn, is_chunks
from earlytime._shards import Shards
from jaxtyping import Float

# Samples at once on a CPU, whose cache then holds the hidden layer; and how much of a GPU's memory one block may
# take, which leaves room for its derivatives and for 20 seeds at once.
_CPU_BLOCK = 2048
_GPU_SHARE = 1 / 64
_CPU_BYTES = 2**30


def fitting_block(f: Callable, x, *, whole: bool = False) -> int:
    """How many samples at once suit the device that f(x) runs on, for an f that treats samples alike.

    On a CPU, a fixed number; `whole` asks for as many as fit into a gigabyte, for networks that a loop makes slow. On
    a GPU as many as fit into a share of its memory, by the size of everything that f computes for one more sample.
    """
    limit = _device_memory()
    if limit is None:
        return max(_CPU_BLOCK, _CPU_BYTES // max(1, bytes_per_sample(f, x))) if whole else _CPU_BLOCK
    return max(1, int(_GPU_SHARE * limit / max(1, bytes_per_sample(f, x))))


def _device_memory() -> int | None:
    """Of the GPU that JAX would use, in bytes; None on a CPU."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return None
    return (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)


def bytes_per_sample(f: Callable, x) -> int:
    """What one more sample adds to all that f computes on its way."""
    one, two = (_bytes_of(jax.make_jaxpr(f)(_like(x, n)).jaxpr) for n in (1, 2))
    return two - one


def has_primitive(jaxpr, name: str) -> bool:
    """Whether a traced function uses one of JAX's primitives anywhere."""
    return any(
        equation.primitive.name == name
        or any(has_primitive(part, name) for value in equation.params.values() for part in _jaxprs(value))
        for equation in jaxpr.eqns
    )


def _like(x, n: int):
    return jax.ShapeDtypeStruct((n, *np.shape(x)[1:]), jax.dtypes.canonicalize_dtype(x.dtype))


def _bytes_of(jaxpr) -> int:
    """The bytes of everything that a traced function computes; of a loop, one pass."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [part for value in equation.params.values() for part in _jaxprs(value)]
        outputs = (variable.aval for variable in equation.outvars)
        total += sum(map(_bytes_of, inner)) or sum(a.size * a.dtype.itemsize for a in outputs)
    return total


def _jaxprs(value) -> list:
    values = value if isinstance(value, (list, tuple)) else [value]
    closed = [getattr(each, "jaxpr", each) for each in values]
    return [each for each in closed if hasattr(each, "eqns")]


def along(table: Float[AnyArray, "..."], values) -> Any:
    """The values with axes in front, until there are as many as the table has; NumPy's arrays stay NumPy's."""
    values = values if isinstance(values, np.ndarray) else jnp.asarray(values)
    return values.reshape((1,) * (table.ndim - values.ndim) + values.shape)


def split_blocks(tree, block_size: int, weights=None):
    """Cut (n, ...) arrays into (num_blocks, size, ...), padded with zeros; chunks are blocks as they are.

    Returns:
        The cut tree, and the weights (num_blocks, size): 1 for a sample unless given, 0 for padding.
    """
    leaves = jax.tree.leaves(tree, is_leaf=is_chunks)
    n = leaves[0].shape[0]
    for chunks in filter(is_chunks, leaves):
        block_size = chunks.size
    num_blocks = -(-n // block_size)
    size = -(-n // num_blocks)  # blocks of equal size, so that there is little padding
    padding = num_blocks * size - n

    def cut(a):
        if is_chunks(a):
            return a.in_blocks()
        padded = jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))
        return padded.reshape(num_blocks, size, *a.shape[1:])

    return jax.tree.map(cut, tree, is_leaf=is_chunks), cut(jnp.ones(n) if weights is None else weights)


def map_blocks(f: Callable, x, block_size: int, shards: Shards | None = None):
    """f(x) for an f that treats samples alike, one block at a time; (n, ...) -> (n, ...), spread as x is."""
    if shards is not None:
        return shards.mapped(lambda part: map_blocks(f, part, block_size), x)
    n = x.shape[0]
    if n <= block_size:
        return f(drawn(x))
    blocks, _ = split_blocks(x, block_size)
    out = jax.lax.map(jax.checkpoint(lambda block: f(drawn(block))), blocks)  # a derivative recomputes the hidden layer
    return out.reshape(-1, *out.shape[2:])[:n]


def sum_blocks(f: Callable, tree, block_size: int, shards: Shards | None = None, weights=None):
    """The sum over blocks of f(block, weights), where f returns any pytree; each device sums its own first."""
    if shards is not None:
        return shards.summed(lambda part: sum_blocks(f, part[0], block_size, weights=part[1]), (tree, weights))
    blocks, weights = split_blocks(tree, block_size, weights)
    evaluate = lambda block, weights: f(drawn(block), weights)
    if weights.shape[0] == 1:
        return evaluate(jax.tree.map(lambda a: a[0], blocks), weights[0])

    def add(total, block):
        return jax.tree.map(jnp.add, total, evaluate(*block)), None

    example = jax.eval_shape(evaluate, *jax.tree.map(lambda a: a[0], (blocks, weights)))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), example)
    total, _ = jax.lax.scan(add, zero, (blocks, weights))
    return total
