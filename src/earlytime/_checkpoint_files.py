"""Checkpoints of one run in one folder, by orbax: arrays and JSON, nothing that is code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._shards import shards_of
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding


class Checkpoints:
    """The checkpoints of a run, to be used in a `with`.

    Args:
        folder: made if it is not there.
        example: what a checkpoint holds, as `jax.eval_shape` gives it, with rows of any number.
        samples: x and x_test, by which the recorded outputs are spread.
        about: what the run is of.
    """

    def __init__(self, folder: Path, example, *, samples: tuple, about: dict[str, Any]):
        try:
            import orbax.checkpoint  # imported late: half a second, and only this needs it
        except ImportError as error:
            raise ImportError("orbax is not installed: pip install orbax-checkpoint") from error
        self._orbax = orbax.checkpoint
        self._example, self._samples, self._about, self._folder = example, samples, about, folder

    def __enter__(self) -> "Checkpoints":
        options = self._orbax.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = self._orbax.CheckpointManager(self._folder.absolute(), options=options)
        return self

    def __exit__(self, *_):
        self._manager.close()

    def save(self, step: int, arrays: dict[str, Any]) -> None:
        """Keep what a run has come to: in a folder of another name, which is renamed when it is complete."""
        args, about = self._orbax.args, {**self._about, "steps": np.asarray(arrays["rows"]["steps"]).tolist()}
        parts = args.Composite(arrays=args.StandardSave(_by_number(arrays)), about=args.JsonSave(about))
        self._manager.save(step, args=parts)

    def last(self, wanted: list[int], num_steps: int) -> dict[str, Any] | None:
        """What the last checkpoint holds; None if there is none.

        Raises:
            ValueError: it is of another run.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        args = self._orbax.args
        about = self._manager.restore(step, args=args.Composite(about=args.JsonRestore()))["about"]
        self._check(about, wanted, step, num_steps)
        target = self._target(len(about["steps"]))
        parts = args.Composite(arrays=args.StandardRestore(_by_number(target)))
        found = self._manager.restore(step, args=parts)["arrays"]
        leaves, treedef = jax.tree.flatten(target)
        restored = [
            _of_kind(found[f"{i}"], leaf) if leaf.size else jnp.zeros(leaf.shape, leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        return jax.tree.unflatten(treedef, restored)

    def _check(self, about: dict[str, Any], wanted: list[int], step: int, num_steps: int) -> None:
        for name in sorted({*about, *self._about} - {"steps"}):
            if about.get(name) != self._about.get(name):
                name = "params" if name in ("trained", "arrays") else name
                raise ValueError(f"{name}: not that of the run in {self._folder}, which has come to step {step}")
        if step > num_steps:
            raise ValueError(f"num_steps: expected at least the {step} of the run in {self._folder}, got {num_steps}")
        due = [s for s in wanted if s < step or s in about["steps"]]
        if due != about["steps"]:
            raise ValueError(
                f"record_steps: the run in {self._folder} recorded {about['steps']} up to step {step}, not {due}"
            )

    def _target(self, num_rows: int):
        """Shapes, types and places of what is restored: as a run leaves them."""
        shards = [shards_of(x) if x is not None else None for x in self._samples]
        known = next((each for each in shards if each), None)
        alone = SingleDeviceSharding(jax.local_devices()[0])
        whole = alone if known is None else NamedSharding(known.mesh, PartitionSpec())

        def placed(leaf, sharding=whole):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding, weak_type=leaf.weak_type)

        def row(name, leaf):
            of = dict(zip(("train_outputs", "test_outputs"), zip(self._samples, shards))).get(name, (None, None))
            leaf = jax.ShapeDtypeStruct((num_rows, *leaf.shape[1:]), leaf.dtype, weak_type=leaf.weak_type)
            if of[1] is None or leaf.shape[1:2] != of[0].shape[:1]:
                return placed(leaf)
            return placed(leaf, NamedSharding(of[1].mesh, PartitionSpec(None, of[1].axes)))

        rows = {name: jax.tree.map(lambda a: row(name, a), part) for name, part in self._example["rows"].items()}
        return {**jax.tree.map(placed, self._example), "rows": rows}


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _by_number(tree) -> dict[str, Any]:
    """The leaves that have entries, by their number; of random keys the numbers that they are made of."""
    leaves = enumerate(jax.tree.leaves(tree))
    return {f"{i}": _plain(leaf) if _is_key(leaf) else leaf for i, leaf in leaves if leaf.size}


def _plain(key):
    is_target = isinstance(key, jax.ShapeDtypeStruct)
    return jax.eval_shape(jax.random.key_data, key) if is_target else jax.random.key_data(key)


def _of_kind(found, leaf):
    """What was restored as what it had been: random keys, and numbers whose type gives way to others'."""
    if _is_key(leaf):
        kinds: list = []  # a key knows its kind, but not its description
        jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), leaf)
        return jax.random.wrap_key_data(found, impl=kinds[0])
    return jnp.asarray(found.item()) if leaf.weak_type and not leaf.ndim else found


def described(apply_fn: Callable, **arguments) -> dict[str, Any]:
    """What tells a run from others, by the names of its arguments: checksums of numbers, names of the rest."""
    return {name: _described(value) for name, value in {"apply_fn": apply_fn, **arguments}.items() if value is not None}


def _described(value) -> str | list:
    if isinstance(value, str):
        return value
    leaves = jax.tree.leaves(value)
    if any(callable(leaf) or isinstance(leaf, str) for leaf in leaves):
        kind = value if hasattr(value, "__qualname__") else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"
    return [[list(np.shape(leaf)), str(jnp.result_type(leaf)), int(_checksum(leaf))] for leaf in leaves]


@jax.jit
def _checksum(array):
    """A sum of the bits, each group of them with a weight of its place, modulo 2³²; on the devices that hold them."""
    if _is_key(jnp.asarray(array)):
        array = jax.random.key_data(array)
    if array.dtype == bool:
        array = array.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(array, jnp.uint8 if array.dtype.itemsize < 4 else jnp.uint32)
    bits, total = bits.astype(jnp.uint32), jnp.zeros((), jnp.uint32)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis in range(bits.ndim):
        place = place * jnp.uint32(1_000_003) + jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
    return total + jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)
