"""One function of a random key, for several seeds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import Whole
from earlytime._validation import check_integer
from jaxtyping import PyTree


def over_seeds(
    run: Callable[..., Any],
    seed: Whole,
    num_seeds: Whole,
    *args: Any,
    per_seed: Any = None,
    batch_size: Whole | None = None,
) -> Any:
    """Run a function of a key for several seeds, with one compiled program.

    Args:
        run: (key, *args) -> any pytree of arrays; (key, own, *args) with per_seed.
        seed: the whole number that all keys come from.
        num_seeds: how many keys.
        args: pytrees of arrays, the same for every key. Data belong here: data that `run` closes
            over are constants of the program, with which XLA may compute while it compiles.
        per_seed: a pytree of arrays with a first axis of num_seeds, of which every run gets its own:
            what an earlier call returned. What several programs share is then compiled once.
        batch_size: how many run at once; None: all of them. On a CPU one after the other (1) is
            as fast and needs the least memory; a GPU wants many.

    Returns:
        The pytree, each leaf with a first axis of num_seeds.

    Raises:
        ValueError: num_seeds or batch_size below 1, a seed that is not a whole number, per_seed
            with another first axis.

    Example:
        >>> over_seeds(lambda key: jax.random.normal(key, (2,)), 0, 3).shape
        (3, 2)
        >>> x = np.ones((4, 2))
        >>> over_seeds(lambda key, x: x @ jax.random.normal(key, (2,)), 0, 3, x).shape
        (3, 4)
        >>> noise = over_seeds(lambda key: jax.random.normal(key, (2,)), 0, 3)
        >>> over_seeds(lambda key, own, x: x @ own, 0, 3, x, per_seed=noise).shape
        (3, 4)
    """
    check_integer("seed", seed, at_least=0)
    check_integer("num_seeds", num_seeds, at_least=1)
    if batch_size is not None:
        check_integer("batch_size", batch_size, at_least=1)
    own: tuple[PyTree, ...] = (jax.random.split(jax.random.key(seed), int(num_seeds)),)
    if per_seed is not None:
        own += (per_seed,)
    for leaf in jax.tree.leaves(per_seed):
        if np.shape(leaf)[:1] != (num_seeds,):
            raise ValueError(f"per_seed: expected a first axis of {num_seeds}, got shape {np.shape(leaf)}")
    take = lambda index: jax.tree.map(lambda leaf: leaf[index], own)
    if batch_size == 1:  # without an axis for the seeds, which products of matrices would pay for
        program = jax.jit(run)
        results = [program(*take(index), *args) for index in range(num_seeds)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
    program = jax.jit(jax.vmap(run, (0,) * len(own) + (None,) * len(args)))
    size = min(batch_size or num_seeds, num_seeds)
    batches = [np.arange(first, first + size) % num_seeds for first in range(0, num_seeds, size)]
    results = [program(*take(batch), *args) for batch in batches]  # all of one size: compiled once
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_seeds], *results)
