"""Hermite polynomials, orthonormal for a standard Gaussian."""

import numpy as np
from jaxtyping import Float


def hermite_polynomials(g: Float[np.ndarray, " nodes"], degree: int) -> Float[np.ndarray, "degrees nodes"]:
    """h_k(g), k = 0, ..., degree."""
    rows = [np.ones_like(g), g]
    for k in range(1, degree):
        rows.append((g * rows[k] - np.sqrt(k) * rows[k - 1]) / np.sqrt(k + 1))
    return np.stack(rows[: degree + 1])
