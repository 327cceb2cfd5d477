"""One function of a random key, for several seeds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import Whole
from earlytime._shards import all_devices, shards_of
from earlytime._stable_rates import is_run, limits_wanted
from earlytime._validation import check_integer


def over_seeds(
    run: Callable[..., Any],
    seed: Whole,
    num_seeds: Whole,
    *args: Any,
    static: Mapping[str, Any] | None = None,
    per_seed: Any = None,
    batch_size: Whole | None = None,
) -> Any:
    """Run a function of a key for several seeds, with one compiled program, on all devices that there are.

    The program is kept by `run` itself, `static` and the shapes of the rest: two calls that differ in values alone
    share it. A function that is made anew for each call, such as a lambda in a loop, shares nothing; what tells the
    calls apart belongs in `args` or `static`.

    Args:
        run: (key, *args, **static) -> any pytree of arrays; (key, own, *args, **static) with per_seed.
        seed: the whole number that all keys come from.
        num_seeds: how many keys.
        args: pytrees of arrays and numbers, the same for every key. Data belong here: data that `run` closes
            over are constants of the program, with which XLA may compute while it compiles.
        static: what the program is compiled for, by name: sizes, names, functions, tuples of them.
        per_seed: a pytree of arrays with a first axis of num_seeds, of which every run gets its own:
            what an earlier call returned. What several programs share is then compiled once.
        batch_size: how many run at once on each device; None: all of them. On a CPU one after the other (1) is
            as fast and needs the least memory; a GPU wants many.

    Returns:
        The pytree, in NumPy arrays, each with a first axis of num_seeds. Of runs that diverged only the first ones
        have their stable learning rate: it takes a second program, and one is what `require_finite` names. Of
        several processes each gets the whole.

    Several devices share the seeds evenly, those of all processes; `jax.default_device` keeps to one.

    Raises:
        ValueError: num_seeds or batch_size below 1, a seed that is not a whole number from 0 to 2³² - 1, per_seed
            with another first axis, a value of static that cannot be hashed, data that are spread over devices.

    Example:
        >>> over_seeds(lambda key: jax.random.normal(key, (2,)), 0, 3).shape
        (3, 2)
        >>> x = np.ones((4, 2))
        >>> over_seeds(lambda key, x: x @ jax.random.normal(key, (2,)), 0, 3, x).shape
        (3, 4)
        >>> noise = over_seeds(lambda key, dim: jax.random.normal(key, (dim,)), 0, 3, static={"dim": 2})
        >>> over_seeds(lambda key, own, x: x @ own, 0, 3, x, per_seed=noise).shape
        (3, 4)
    """
    check_integer("seed", seed, at_least=0, at_most=2**32 - 1)
    check_integer("num_seeds", num_seeds, at_least=1)
    if batch_size is not None:
        check_integer("batch_size", batch_size, at_least=1)
    for leaf in jax.tree.leaves(per_seed):
        if np.shape(leaf)[:1] != (num_seeds,):
            raise ValueError(f"per_seed: expected a first axis of {num_seeds}, got shape {np.shape(leaf)}")
    if any(shards_of(leaf) for leaf in jax.tree.leaves((per_seed, args))):
        raise ValueError("args: expected data that every device may hold, got some that are spread over devices")
    fixed = tuple(sorted((static or {}).items()))
    try:
        hash(fixed)
    except TypeError as error:
        raise ValueError(f"static: expected sizes, names, functions and tuples of them ({error})") from None

    keys = _keys(np.uint32(seed), int(num_seeds))
    own = (keys,) if per_seed is None else (keys, jax.device_put(per_seed))
    shards = all_devices("seeds") if jax.config.values["jax_default_device"] is None else None
    batches, join = _batches(int(num_seeds), batch_size, 1 if shards is None else shards.count)
    with jax.debug_nans(False):  # what has no value yet is NaN in a run; `require_finite` finds the others
        results = [_run(run, fixed, False, shards, batch, own, args) for batch in batches]
    results = [jax.tree.map(_to_host, result) for result in results]
    for i, result in enumerate(results):
        runs = [node for node in jax.tree.leaves(result, is_leaf=is_run) if is_run(node)]
        if any(np.any(node.diverged_at >= 0) for node in runs):
            with jax.debug_nans(False):
                again = _run(run, fixed, True, shards, batches[i], own, args)
            results[i] = _with_limits(result, again)
            break
    return jax.tree.map(lambda *leaves: _join(join, leaves)[:num_seeds], *results)


def _batches(num_seeds: int, batch_size: Whole | None, num_devices: int) -> tuple[list, Callable]:
    """Which seeds run at once, and what puts their results together again."""
    every = np.arange(num_seeds, dtype=np.int32)
    if num_devices > 1:  # as many for each; those of the last ones that are too many are run again
        share = -(-num_seeds // num_devices)
        size = num_devices * min(batch_size or share, share)
        return [np.resize(np.roll(every, -at), size) for at in range(0, num_seeds, size)], np.concatenate
    if batch_size == 1:  # without an axis for the seeds, which products of matrices would pay for
        return list(every), np.stack
    size = min(batch_size or num_seeds, num_seeds)  # all of one size: compiled once
    return [np.resize(np.roll(every, -at), size) for at in range(0, num_seeds, size)], np.concatenate


@functools.partial(jax.jit, static_argnums=1)
def _keys(seed, num_seeds):
    return jax.random.split(jax.random.key(seed), num_seeds)


@functools.partial(jax.jit, static_argnames=("run", "fixed", "limits", "shards"))
def _run(run, fixed, limits, shards, index, own, args):
    """The runs of the seeds at `index`, one number or several; with the stable learning rates of diverged ones."""
    one = functools.partial(run, **dict(fixed))
    mine = jax.tree.map(lambda leaf: leaf[index], own)
    token = limits_wanted.set(limits)
    try:
        if index.ndim == 0:
            return one(*mine, *args)
        several = lambda mine, args: jax.vmap(one, (0,) * len(mine) + (None,) * len(args))(*mine, *args)
        if shards is None:
            return several(mine, args)
        if len(index) == shards.count:  # one on each device, without an axis for the seeds
            several = lambda mine, args: jax.tree.map(
                lambda leaf: leaf[None], one(*jax.tree.map(lambda leaf: leaf[0], mine), *args)
            )
        return shards.everywhere(shards.mapped(several, mine, args))
    finally:
        limits_wanted.reset(token)


def _to_host(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf if is_key else np.asarray(leaf)


def _join(join, leaves):
    if isinstance(leaves[0], np.ndarray):
        return join(leaves)
    data = join([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaves[0]))


def _with_limits(result, again):
    put = lambda node, new: (
        node._replace(stable_learning_rate=jax.tree.map(_to_host, new.stable_learning_rate)) if is_run(node) else node
    )
    return jax.tree.map(put, result, again, is_leaf=is_run)
