"""Chunks of inputs, and what becomes of them and of arrays alike."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=("keys",), meta_fields=("draw",))
@dataclass(frozen=True)
class Chunks:
    r"""Inputs x of `two_layer_kernel`, `tangent_kernel` and `linear_kernel` that never exist at once.

    A product with such a kernel draws one chunk after the other, twice, and forgets it. What is in memory grows with n
    by vectors of n numbers alone. Where the keys are spread over devices, each draws the chunks of its own.

    Attributes:
        draw: a random key -> (size, ...) inputs, of the same size for every key.
        keys: (number of chunks,) random keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from earlytime import linear_kernel, sample_inputs
        >>> x = Chunks(lambda key: sample_inputs(key, 100, 3), jax.random.split(jax.random.key(0), 50))
        >>> linear_kernel(lambda x: x, x).matvec(jnp.ones(5000)).shape
        (5000,)
    """

    draw: Callable
    keys: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...) of all inputs."""
        first = self._chunk
        return (self.keys.shape[0] * first.shape[0], *first.shape[1:])

    @property
    def ndim(self) -> int:
        """Axes of the inputs."""
        return len(self.shape)

    @property
    def dtype(self):
        """Of the inputs."""
        return self._chunk.dtype

    @property
    def size(self) -> int:
        """Inputs in a chunk."""
        return self._chunk.shape[0]

    @property
    def _chunk(self):
        return jax.eval_shape(self.draw, jax.eval_shape(lambda keys: keys[0], self.keys))

    def first(self) -> Array:
        """The first chunk."""
        return self.draw(self.keys[0])

    def dense(self) -> Array:
        """All inputs, (n, ...)."""
        if self.keys.shape[0] == 1:
            return self.first()
        return jax.lax.map(self.draw, self.keys).reshape(self.shape)

    def in_blocks(self) -> "Chunks":
        """With an axis in front of the keys, for a loop over them."""
        return dataclasses.replace(self, keys=self.keys[:, None])


def is_chunks(value) -> bool:
    """Whether inputs are drawn, and no array."""
    return isinstance(value, Chunks)


def drawn(tree):
    """With the inputs themselves in the place of chunks."""
    return jax.tree.map(lambda leaf: leaf.dense() if is_chunks(leaf) else leaf, tree, is_leaf=is_chunks)


def first_of(x):
    """The first chunk, or the array."""
    return x.first() if is_chunks(x) else x
