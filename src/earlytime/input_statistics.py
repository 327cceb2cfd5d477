r"""What the papers assume of the inputs, measured: lengths near √d, angles near 90°, no mean, many directions."""

from typing import NamedTuple

import numpy as np
from earlytime._arrays import AnyArray
from earlytime._validation import check_finite, check_real
from jaxtyping import Num


class InputStatistics(NamedTuple):
    r"""Of inputs x (n, d) with mean μ and covariance Σ.

    Attributes:
        num_samples: n.
        dim: d.
        mean_square: the mean of ‖x‖²/d; Hu et al. 2020 have Tr Σ = d, so 1.
        norm_spread: the standard deviation of ‖x‖²/d over its mean; their Claim 3.1 has it of order 1/√d.
        rms_cosine: the root mean square of the cosines between different inputs; of order 1/√d there.
        effective_dim: (Tr Σ)²/Tr Σ²; of order d there.
        mean_share: ‖μ‖² over the mean of ‖x‖²; 0 there.
        scale_ratio: the largest standard deviation of a column over the smallest one that is not 0.
        num_constant: columns that never change.
    """

    num_samples: int
    dim: int
    mean_square: float
    norm_spread: float
    rms_cosine: float
    effective_dim: float
    mean_share: float
    scale_ratio: float
    num_constant: int


def input_statistics(x: Num[AnyArray, "n d"]) -> InputStatistics:
    r"""Measure what the theorems assume of their inputs, in O(nd · min(n, d)).

    Args:
        x: (n, d) inputs, n >= 2.

    Returns:
        InputStatistics; cosines between inputs other than 0.

    Raises:
        ValueError: fewer than two samples, entries that are not finite, inputs that are all the same.

    Example:
        >>> x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> statistics = input_statistics(x)
        >>> print(statistics.mean_square, statistics.effective_dim, statistics.mean_share)
        1.0 2.0 0.0
    """
    if np.ndim(x) != 2 or np.shape(x)[0] < 2 or np.shape(x)[1] < 1:
        raise ValueError(f"x: expected shape (n, d) with n >= 2, got {np.shape(x)}")
    check_real("x", x)
    check_finite("x", x)
    values = np.asarray(x, np.float64)
    n, d = values.shape
    squares = np.sum(values**2, axis=1)
    mean = values.mean(axis=0)
    deviations = values - mean
    spreads = deviations.std(axis=0)
    varying = spreads > 1e-12 * max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    if not varying.any():
        raise ValueError("x: expected inputs that differ, got one and the same")
    covariance_square = _square_of_gram(deviations) / n**2
    directions = values[squares > 0] / np.sqrt(squares[squares > 0])[:, None]
    m = len(directions)
    cosine_square = (_square_of_gram(directions) - m) / (m * (m - 1)) if m > 1 else float("nan")
    return InputStatistics(
        n,
        d,
        float(squares.mean() / d),
        float(squares.std() / squares.mean()),
        float(np.sqrt(max(cosine_square, 0.0))),
        float(np.sum(spreads**2) ** 2 / covariance_square),
        float(mean @ mean / squares.mean()),
        float(spreads[varying].max() / spreads[varying].min()),
        int(np.sum(~varying)),
    )


def _square_of_gram(x) -> float:
    """‖XXᵀ‖² = ‖XᵀX‖², from the smaller of the two."""
    product = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    return float(np.sum(product**2))
