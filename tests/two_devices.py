"""Stands for two devices where there is one: what works on parts of its samples is called for each part."""

import jax
import jax.numpy as jnp
from earlytime._shards import Shards


class TwoDevices(Shards):
    """The first has one sample more if their number is odd."""

    def __init__(self):
        pass  # no mesh

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other

    count = 2

    def mapped(self, f, tree, *shared):
        parts = [f(part, *shared) for part in _halves(tree)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    def summed(self, f, tree):
        return jax.tree.map(jnp.add, *map(f, _halves(tree)))


def _halves(tree):
    half = -(-len(jax.tree.leaves(tree)[0]) // 2)
    return [jax.tree.map(lambda a, part=part: a[part], tree) for part in (slice(0, half), slice(half, None))]
