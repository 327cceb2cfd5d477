r"""Intervals over seeds, and power laws with their exponents' intervals."""

from typing import NamedTuple

import numpy as np
import scipy.special
from earlytime._arrays import Numbers
from earlytime._validation import check_finite, check_positive
from jaxtyping import Float


def confidence_interval(values: Numbers) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds, by Student's t.

    Args:
        values: one number per seed.

    Returns:
        (low, high); infinite for a single seed, which says nothing about the spread.

    Raises:
        ValueError: no values, not one per seed, or values that are not finite.

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


def fit_power_law(sizes: Numbers, values: Numbers) -> PowerLaw:
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
        check_positive(name, array)
    slopes, intercepts = np.polyfit(np.log(sizes), np.log(values).T, 1)
    return PowerLaw(float(slopes.mean()), confidence_interval(slopes), float(np.exp(intercepts.mean())), slopes)
