r"""What grows with d where the theorems are put to the test: samples, width, learning rate and length of a run."""

from typing import NamedTuple

import numpy as np
from earlytime._arrays import Real, Whole
from earlytime._validation import check_integer, check_positive
from earlytime.activations import GaussianMoments

ALPHA = 0.25


class Sizes(NamedTuple):
    """The sizes of one dimension.

    Attributes:
        num_samples: n.
        width: m, even, as symmetric initialization needs it.
    """

    num_samples: int
    width: int


def edge_sizes(dim: Whole) -> Sizes:
    r"""The fewest samples and neurons that the theorems allow: $n = d^{1+\alpha}$ and $m = 4 d^{1+\alpha}$, α = 1/4.

    The theorems ask for $n, m \gtrsim d^{1+\alpha}$ with α < 1/4 and leave the constants open; 1 and 4 are the book's.

    Source: Hu et al. 2020, Theorems 3.2, 3.5 and 3.6.

    Args:
        dim: d.

    Returns:
        Sizes(num_samples, width).

    Raises:
        ValueError: dim below 1.

    Example:
        >>> edge_sizes(16)
        Sizes(num_samples=32, width=128)
    """
    check_integer("dim", dim, at_least=1)
    return Sizes(round(dim ** (1 + ALPHA)), 2 * round(2 * dim ** (1 + ALPHA)))


def learning_rate(moments: GaussianMoments, dim: Whole, *, per_dim: Real, otherwise: Real) -> Real:
    r"""The learning rate of a second layer: in proportion to d where ϑ₀ = 0, and the same for all d otherwise.

    The theorems want $\eta \ll d/\log n$ if ϑ₀ = 0. If not, $q(x) \approx \vartheta_0$ gives the kernel an eigenvalue
    of $\vartheta_0^2 n$, and they want $\eta \ll 1$.

    Source: Hu et al. 2020, Theorems 3.5 and 3.6.

    Args:
        moments: of the activation, from `gaussian_moments`.
        dim: d.
        per_dim: η/d where ϑ₀ = 0.
        otherwise: η elsewhere.

    Returns:
        η.

    Raises:
        ValueError: dim below 1, a rate that is not positive.

    Example:
        >>> from earlytime import gaussian_moments
        >>> [learning_rate(gaussian_moments(phi), 64, per_dim=0.25, otherwise=0.5) for phi in ("erf", "relu")]
        [16.0, 0.5]
    """
    check_integer("dim", dim, at_least=1)
    check_positive("per_dim", per_dim)
    check_positive("otherwise", otherwise)
    return per_dim * dim if abs(moments.theta0) < 1e-9 else otherwise


def num_steps(dim: Whole, *, learning_rate: Real, same_time_as: Whole | None = None) -> int:
    r"""The length of a run that a theorem speaks about, $T = c\,d\log d/\eta$ with c = 1, in steps.

    T grows by log d even in the time $\eta t/d$, in which runs of different d are alike. Up to one such time for all
    of them, log d' of the smallest dimension d', a run is compared with `same_time_as`.

    Source: Hu et al. 2020, Theorems 3.2, 3.5 and 3.6.

    Args:
        dim: d.
        learning_rate: η of this d.
        same_time_as: d', for the step at which $\eta t/d = \log d'$; None for d itself.

    Returns:
        A number of steps, rounded, at least 1.

    Raises:
        ValueError: a dimension below 1, a learning rate that is not positive.

    Example:
        >>> num_steps(64, learning_rate=3.2), num_steps(64, learning_rate=3.2, same_time_as=16)
        (83, 55)
    """
    other = dim if same_time_as is None else same_time_as
    check_integer("dim", dim, at_least=1)
    check_integer("same_time_as", other, at_least=1)
    check_positive("learning_rate", learning_rate)
    return max(1, round(dim * np.log(other) / learning_rate))
