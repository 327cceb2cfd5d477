"""Samples that are spread over several devices: each device works on its own, and only sums travel."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._chunks import is_chunks
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec


@jax.tree_util.register_static
@dataclass(frozen=True)
class Shards:
    """How a first axis is spread.

    Attributes:
        mesh: the devices.
        axes: the names of the mesh's axes along which the first axis is spread; along others it is repeated.
    """

    mesh: Mesh | AbstractMesh
    axes: Any

    @property
    def count(self) -> int:
        """The number of parts."""
        names = self.axes if isinstance(self.axes, tuple) else (self.axes,)
        return int(np.prod([self.mesh.shape[name] for name in names]))

    def mapped(self, f: Callable, tree, *shared):
        """f(tree, *shared), each device with its part of the tree's first axes; the results are spread as the tree."""
        specs = (PartitionSpec(self.axes), *(PartitionSpec() for _ in shared))
        return self._run(f, specs, PartitionSpec(self.axes), tree, *shared)

    def summed(self, f: Callable, tree):
        """The sum over the devices of f, each with its part of the tree."""
        total = lambda part: jax.lax.psum(f(part), self.axes)
        return self._run(total, (PartitionSpec(self.axes),), PartitionSpec(), tree)

    def everywhere(self, tree):
        """The tree as every process can read it: repeated on all devices where there are several."""
        if jax.process_count() == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, PartitionSpec()))

    def rows(self, tree, indices):
        """The rows at indices that all devices know, spread; and their weights, 0 for what fills up the last part."""
        padding = -len(indices) % self.count
        indices = jnp.append(indices, jnp.full((padding,), -1, indices.dtype))

        def own(part, indices):
            first = jax.lax.axis_index(self.axes) * jax.tree.leaves(part)[0].shape[0]
            return jax.tree.map(lambda a: self._hand_out(a, indices - jnp.asarray(first, indices.dtype)), part)

        return self.mapped(own, tree, indices), jnp.where(indices < 0, 0.0, 1.0)

    def _hand_out(self, a, places):
        """Every device gets its share of the rows at the places, from the device that has them."""
        mine = (places >= 0) & (places < a.shape[0])
        found = a[jnp.where(mine, places, 0)]
        found = jnp.where(mine.reshape(-1, *(1,) * (a.ndim - 1)), found, jnp.zeros((), a.dtype))
        return jax.lax.psum_scatter(found, self.axes, tiled=True)

    def _run(self, f, in_specs, out_specs, *args):
        return jax.jit(_shard_map(f, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs))(*args)


def _shard_map(f, **kwargs):
    """Nothing is summed but where the code says so: the gradients of a block are its own."""
    if hasattr(jax, "shard_map"):
        return jax.shard_map(f, check_vma=False, **kwargs)
    from jax.experimental.shard_map import shard_map  # JAX 0.6

    return shard_map(f, check_rep=False, **kwargs)


def is_spread(value) -> bool:
    """Whether it is an array that several devices hold, which NumPy must not collect."""
    known = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
    return known and len(value.sharding.device_set) > 1


def shards_of(value) -> Shards | None:
    """How the samples of an array, or the keys of chunks, are spread; None on one device, or while it is traced."""
    value = value.keys if is_chunks(value) else value
    if not is_spread(value) or not isinstance(value.sharding, NamedSharding):
        return None
    spec = value.sharding.spec
    axes = spec[0] if spec else None
    shards = None if axes is None else Shards(value.sharding.mesh, axes)
    return shards if shards and shards.count > 1 else None


def on_its_devices(f: Callable, *arrays):
    """f of arrays whose values are known, though JAX may be tracing what is around; every process gets the result."""
    meshes = [a.sharding.mesh for a in arrays if is_spread(a) and isinstance(a.sharding, NamedSharding)]
    everywhere = NamedSharding(meshes[0], PartitionSpec()) if meshes else None
    with jax.ensure_compile_time_eval():
        return jax.jit(f, out_shardings=everywhere)(*arrays)


def rows_of(x, indices) -> np.ndarray:
    """A few rows of an array, wherever it is, as NumPy's."""
    if not is_spread(x):
        return np.asarray(x)[indices]
    return np.asarray(on_its_devices(lambda x: x[indices], x))


@functools.cache
def all_devices(axis: str) -> Shards | None:
    """Everything that JAX may use, of all processes; None for one device alone."""
    devices = jax.devices()
    return Shards(Mesh(np.array(devices), (axis,)), axis) if len(devices) > 1 else None
