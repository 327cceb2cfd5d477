r"""Activations and the four Gaussian moments that decide what is learned early.

An activation is a name from `ACTIVATIONS`, `leaky_relu(slope)`, or any function that JAX can
differentiate and that acts entry by entry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers, Real, Whole
from earlytime._hermite import hermite_polynomials
from earlytime._validation import check_choice, check_finite, check_integer, check_known, check_positive
from earlytime.precision import float64
from jaxtyping import Array, Float

Activation = str | Callable[[Float[Array, "..."]], Float[Array, "..."]]


@dataclass(frozen=True)
class LeakyRelu:
    """z for z >= 0 and slope * z below: every piecewise linear activation of the papers."""

    slope: float

    def __call__(self, z: Real | Float[AnyArray, "..."]) -> Float[Array, "..."]:
        return jnp.where(z >= 0, z, self.slope * z)


ACTIVATIONS: dict[str, Callable] = {
    "erf": jax.scipy.special.erf,
    "tanh": jnp.tanh,
    "relu": LeakyRelu(0.0),
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "abs": LeakyRelu(-1.0),
}


def leaky_relu(slope: Real) -> LeakyRelu:
    """The activation z for z >= 0, slope * z for z < 0.

    Args:
        slope: the slope below zero; 0 is ReLU, -1 is |z|.

    Raises:
        ValueError: a slope that is not finite.

    Example:
        >>> print(leaky_relu(0.2)(jnp.array([-1.0, 2.0])))
        [-0.2  2. ]
    """
    check_finite("slope", slope)
    return LeakyRelu(float(slope))


def resolve_activation(activation: Activation) -> Callable:
    """The function behind a name; a function is returned as it is.

    Raises:
        ValueError: the name is unknown, or the argument is neither a name nor a function.
    """
    if isinstance(activation, str):
        check_choice("activation", activation, sorted(ACTIVATIONS))
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise ValueError(f"activation: expected a name or a function, got {activation!r}")
    return activation


class GaussianMoments(NamedTuple):
    """The four numbers of an activation, with g ~ N(0, 1), in float64."""

    zeta: float
    theta0: float
    theta1: float
    theta2: float


# Beyond 13 standard deviations the Gaussian weight is below 1e-37.
_LIMIT, _NODES = 13.0, 32


def gaussian_moments(activation: Activation, *, kinks: Numbers = (0.0,)) -> GaussianMoments:
    r"""The four Gaussian moments of an activation.

    $$\zeta = E[\varphi'(g)], \quad \vartheta_0 = E[\varphi(g)], \quad
      \vartheta_1 = E[g\varphi'(g)], \quad
      \vartheta_2 = E[(\tfrac12 g^3 - g)\varphi'(g)]$$

    Stein's lemma moves the derivative to the Gaussian weight, so that only values of the
    activation are needed: E[h(g) φ'(g)] = E[(g h(g) - h'(g)) φ(g)]. Gauss-Legendre quadrature on
    unit panels, cut at the kinks; always in float64, whatever JAX's precision.

    Source: Hu et al. 2020, section 3 (theta0, theta1, theta2 as in Theorem 3.5).

    Args:
        activation: a name or a function.
        kinks: the points where the activation is not smooth.

    Returns:
        GaussianMoments(zeta, theta0, theta1, theta2), Python floats.

    Raises:
        ValueError: unknown activation, kinks that are not finite, or values that are not finite.

    Example:
        >>> zeta, theta0, _, _ = gaussian_moments("relu")
        >>> print(f"{zeta:.6f} {theta0:.6f}")
        0.500000 0.398942
    """
    phi = resolve_activation(activation)
    kinks = np.asarray(kinks, dtype=np.float64).reshape(-1)
    check_finite("kinks", kinks)
    g, density = gaussian_quadrature(kinks)
    values = _values(phi, g)
    mean = lambda polynomial: float(np.sum(density * polynomial * values))
    return GaussianMoments(
        zeta=mean(g),
        theta0=mean(np.ones_like(g)),
        theta1=mean(g**2 - 1),
        theta2=mean(g**4 / 2 - 5 * g**2 / 2 + 1),
    )


def hermite_coefficients(
    activation: Activation, *, degree: Whole, length: Real = 1.0, kinks: Numbers = (0.0,)
) -> Float[np.ndarray, " coefficients"]:
    r"""The Hermite coefficients of an activation, of which the four moments are made.

    $$a_k = E[\varphi(rg)\, h_k(g)], \qquad k = 0, \dots, \mathrm{degree}$$

    with h_k the orthonormal Hermite polynomials and g ~ N(0, 1). For r = 1, $a_0 = \vartheta_0$, $a_1 = \zeta$ and
    $a_2 = \vartheta_1/\sqrt2$; the sum of all squares is E[φ(rg)²]. By the quadrature of `gaussian_moments`, in
    float64.

    Source: derived in the book, in the chapter on quadratic features.

    Args:
        activation: a name or a function.
        degree: the highest k, at most 127.
        length: r = ‖x‖/√d, of the input that the activation sees.
        kinks: the points where the activation is not smooth.

    Returns:
        (degree + 1,).

    Raises:
        ValueError: a degree below 0 or above 127, a length that is not positive; and as `gaussian_moments`.

    Example:
        >>> print(np.round(hermite_coefficients("relu", degree=2), 4))
        [0.3989 0.5    0.2821]
    """
    phi = resolve_activation(activation)
    check_integer("degree", degree, at_least=0, at_most=127)
    check_known("length", length)
    check_positive("length", length)
    kinks = np.asarray(kinks, dtype=np.float64).reshape(-1)
    check_finite("kinks", kinks)
    g, density = gaussian_quadrature(kinks / float(length))
    return hermite_polynomials(g, int(degree)) @ (density * _values(phi, float(length) * g))


def _values(phi: Callable, z: np.ndarray) -> np.ndarray:
    """φ(z) in float64, whatever JAX's precision."""
    with jax.ensure_compile_time_eval(), float64():
        values = np.asarray(phi(jnp.asarray(z, dtype=jnp.float64)), dtype=np.float64)
    if values.shape != z.shape or not np.all(np.isfinite(values)):
        raise ValueError("activation: expected a function that acts entry by entry, finite on [-13, 13]")
    return values


def gaussian_quadrature(kinks: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Nodes g: (N,) and weights: (N,) with Σ weights · f(g) = E[f(g)], for f smooth between the kinks."""
    edges = np.unique(np.concatenate([np.arange(-_LIMIT, _LIMIT + 1), kinks]))
    edges = edges[(edges >= -_LIMIT) & (edges <= _LIMIT)]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    g = (edges[:-1, None] + half + half * nodes).reshape(-1)
    return g, (half * weights).reshape(-1) * np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi)
