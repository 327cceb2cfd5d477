r"""Intervals over seeds, and power laws with their exponents' intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from earlytime._validation import check_finite, check_integer
from jaxtyping import Float


def over_seeds(
    run: Callable[..., Any],
    seed: int,
    num_seeds: int,
    *args: Any,
    per_seed: Any = None,
    batch_size: int | None = None,
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
    own = (jax.random.split(jax.random.key(seed), num_seeds),)
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


def confidence_interval(values: Float[np.ndarray, " num_seeds"]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds, by Student's t.

    Args:
        values: one number per seed.

    Returns:
        (low, high); infinite for a single seed, which says nothing about the spread.

    Example:
        >>> low, high = confidence_interval(np.array([1.0, 2.0, 3.0]))
        >>> print(f"{low:.2f} {high:.2f}")
        -0.48 4.48
    """
    values = np.asarray(values, dtype=np.float64)
    check_finite("values", values)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values: expected one number per seed, got shape {values.shape}")
    if values.size == 1:
        return (-np.inf, np.inf)
    t = scipy.special.stdtrit(values.size - 1, 0.975)
    half = t * values.std(ddof=1) / np.sqrt(values.size)
    return (float(values.mean() - half), float(values.mean() + half))


class PowerLaw(NamedTuple):
    """values ≈ prefactor · sizes^exponent.

    Attributes:
        exponent: the mean of the seeds' slopes.
        interval: its 95 % interval over seeds.
        prefactor: of the mean line.
        per_seed: (num_seeds,) the slope of every seed, for `record_claim`.
    """

    exponent: float
    interval: tuple[float, float]
    prefactor: float
    per_seed: Float[np.ndarray, " num_seeds"]


def fit_power_law(sizes: Float[np.ndarray, " num_sizes"], values: Float[np.ndarray, "num_seeds num_sizes"]) -> PowerLaw:
    r"""Fit values ≈ c · sizes^k by least squares of the logarithms, seed by seed.

    The exponent is the mean of the seeds' slopes, its interval Student's t over them. (Percentiles
    of resampled seeds are too narrow for five seeds: they cover about 84 % and not 95 %.)

    Args:
        sizes: (num_sizes,) positive, at least two different ones.
        values: (num_seeds, num_sizes) positive.

    Returns:
        PowerLaw.

    Raises:
        ValueError: wrong shapes, or numbers that are not positive and finite.

    Example:
        >>> law = fit_power_law([1, 2, 4], [[3.0, 6.0, 12.0], [1.0, 2.0, 4.0]])
        >>> print(f"{law.exponent:.2f} {law.prefactor:.3f}")
        1.00 1.732
    """
    sizes, values = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if sizes.ndim != 1 or np.unique(sizes).size < 2:
        raise ValueError(f"sizes: expected at least two different sizes, got {sizes}")
    if values.ndim != 2 or values.shape[1] != sizes.size:
        raise ValueError(f"values: expected shape (num_seeds, {sizes.size}), got {values.shape}")
    for name, array in (("sizes", sizes), ("values", values)):
        if not (np.all(np.isfinite(array)) and np.all(array > 0)):
            raise ValueError(f"{name}: expected positive finite numbers, got {array}")
    slopes, intercepts = np.polyfit(np.log(sizes), np.log(values).T, 1)
    return PowerLaw(float(slopes.mean()), confidence_interval(slopes), float(np.exp(intercepts.mean())), slopes)
