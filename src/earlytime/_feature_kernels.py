"""The kernel of features of inputs that are drawn chunk by chunk."""

from collections.abc import Callable

import jax
from earlytime._blocks import map_blocks, sum_blocks
from earlytime._chunks import drawn, is_chunks
from earlytime._shards import shards_of
from earlytime._validation import are_equal
from earlytime.operators import Operator
from jax.tree_util import Partial


def feature_kernel(features: Callable, x, x2) -> Operator:
    """The operator ψ(x) ψ(x2)ᵀ, of which no features exist but those of a chunk."""
    # A feature map may be a pytree of numbers, and is then no part of the program.
    psi = Partial(features) if jax.tree_util.treedef_is_leaf(jax.tree.structure(features)) else features
    parts = (psi, x, x2, shards_of(x), shards_of(x2))
    return Operator(
        Partial(_product, *parts),
        Partial(_matrix, *parts[:3]),
        (x.shape[0], x2.shape[0]),
        cheap_dense=True,
        symmetric=are_equal(x, x2),
    )


def _product(psi, x, x2, shards, shards2, u):
    def pull(block, weights):
        inputs, u_block = block
        return (u_block * weights.astype(u_block.dtype)) @ psi(inputs)

    coefficients = sum_blocks(pull, (x2, u), _size(x2), shards2)
    return map_blocks(lambda inputs: psi(inputs) @ coefficients, x, _size(x), shards)


def _size(x) -> int:
    return x.size if is_chunks(x) else x.shape[0]


def _matrix(psi, x, x2):
    return psi(drawn(x)) @ psi(drawn(x2)).T
