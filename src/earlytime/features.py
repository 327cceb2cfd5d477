"""The papers' features: what a two-layer network is linear in early on, and the Tr Σ² that they need."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole, floating
from earlytime._validation import (
    check_finite,
    check_integer,
    check_not_negative,
    check_on_sphere,
    check_positive,
    check_trained,
)
from earlytime.activations import GaussianMoments
from jaxtyping import Array, Float, Num


class EarlyTimeFeatures(NamedTuple):
    """A feature map x: (n, d) -> (n, p) of `early_time_features`.

    Attributes:
        linear: the factor of x.
        constant: the entry that is the same for every x.
        norm: (theta0, theta1, theta2) of the norm feature q, or None without it.
    """

    linear: float | Float[Array, ""]
    constant: float | Float[Array, ""]
    norm: tuple[Real, Real, Real] | None

    def __call__(self, x: Num[AnyArray, "n d"]) -> Float[Array, "n p"]:
        x = floating("x", x)
        columns = [self.linear * x, jnp.broadcast_to(self.constant, (x.shape[0], 1)).astype(x.dtype)]
        if self.norm is not None:
            columns.append(norm_feature(self.norm, x)[:, None])
        return jnp.concatenate(columns, axis=1)


def norm_feature(theta: tuple[Real, Real, Real], x: Num[AnyArray, "n d"]) -> Float[Array, " n"]:
    r"""q(x) = ϑ₀ + ϑ₁(‖x‖/√d - 1) + ϑ₂(‖x‖/√d - 1)², what the second layer sees of the norm.

    Source: Hu et al. 2020, Theorem 3.5.

    Args:
        theta: (theta0, theta1, theta2).
        x: (n, d) inputs.

    Returns:
        (n,).

    Example:
        >>> print(norm_feature((0.5, 1.0, 0.0), jnp.array([[2.0, 0.0, 0.0, 0.0]])))
        [0.5]
    """
    x = floating("x", x)
    excess = jnp.linalg.norm(x, axis=1) / math.sqrt(x.shape[1]) - 1
    return theta[0] + theta[1] * excess + theta[2] * excess**2


def early_time_features(
    moments: GaussianMoments, *, trained: str, dim: Whole, trace_sigma_squared: Real
) -> EarlyTimeFeatures:
    r"""The feature map ψ of the linear model that a two-layer network follows early on.

    With ν = ϑ₁ √(Tr Σ²/d):

    - first layer (Theorem 3.2): $\psi_1(x) = [\zeta x;\ \nu]/\sqrt d$
    - second layer (Theorem 3.5): $\psi_2(x) = [\zeta x/\sqrt d;\ \nu/\sqrt{2d};\ q(x)]$
    - both (Theorem 3.6): $\psi(x) = [\sqrt{2/d}\,\zeta x;\ \sqrt{3/(2d)}\,\nu;\ q(x)]$

    Source: Hu et al. 2020, Theorems 3.2, 3.5 and 3.6.

    Args:
        moments: of the activation, from `gaussian_moments`.
        trained: "first", "second" or "both" layers.
        dim: d.
        trace_sigma_squared: Tr Σ² (d for Σ = I); see `estimate_trace_sigma_squared`.

    Returns:
        A function x: (n, d) -> (n, d + 1) for the first layer, (n, d + 2) otherwise.

    Raises:
        ValueError: unknown `trained`, dim below 1, Tr Σ² not finite or negative.

    Example:
        >>> from earlytime import gaussian_moments
        >>> features = early_time_features(
        ...     gaussian_moments("relu"), trained="both", dim=3, trace_sigma_squared=3.0)
        >>> features(jnp.ones((2, 3))).shape
        (2, 5)
    """
    check_trained(trained)
    check_integer("dim", dim, at_least=1)
    check_not_negative("trace_sigma_squared", trace_sigma_squared)
    nu = moments.theta1 * jnp.sqrt(trace_sigma_squared / dim)
    linear, constant = {
        "first": (1 / dim, 1 / dim),
        "second": (1 / dim, 1 / (2 * dim)),
        "both": (2 / dim, 3 / (2 * dim)),
    }[trained]
    return EarlyTimeFeatures(
        linear=math.sqrt(linear) * moments.zeta,
        constant=math.sqrt(constant) * nu,
        norm=None if trained == "first" else (moments.theta0, moments.theta1, moments.theta2),
    )


class QuadraticFeatures(NamedTuple):
    """A feature map x: (n, d) -> (n, 1 + d + d(d + 1)/2) of `quadratic_features`.

    Attributes:
        constant: the entry that is the same for every x.
        linear: the factor of x.
        quadratic: the factor of the products x_i x_j, i <= j; those with i < j have √2 besides.
    """

    constant: Real
    linear: Real
    quadratic: Real

    def __call__(self, x: Num[AnyArray, "n d"]) -> Float[Array, "n p"]:
        check_on_sphere("x", x)
        x = floating("x", x)
        rows, columns = np.triu_indices(x.shape[1])
        twice = jnp.asarray(np.where(rows == columns, 1.0, math.sqrt(2)), x.dtype)
        factors = [jnp.asarray(factor, x.dtype) for factor in self]
        constant = jnp.broadcast_to(factors[0], (x.shape[0], 1))
        products = x[:, rows] * x[:, columns] * (factors[2] * twice)[None, :]
        return jnp.concatenate([constant, factors[1] * x, products], axis=1)


def quadratic_features(
    coefficients: Float[np.ndarray, " coefficients"], *, trained: str, dim: Whole
) -> QuadraticFeatures:
    r"""The features of the quadratic model that a two-layer network follows for longer than the linear one.

    For inputs of norm √d,

    $$\psi(x) = \Big[\sqrt{c_0 + 3c_4/d^2};\ \sqrt{c_1 + 3c_3/d}\; x/\sqrt d;\
      \sqrt{c_2}\; \mathrm{vec}(xx^\top)/d\Big], \qquad c_k = w_k a_k^2,$$

    with w_k = k, 1 or k + 1 for the first, the second or both layers, and a_k the Hermite coefficients. The
    kernel is $\sum_k c_k \rho^k$, $\rho = \langle x, x'\rangle/d$; c₃ and c₄ are what ρ³ looks like to linear
    functions, and ρ⁴ to constants.

    Source: derived in the book, after Hu et al. 2020, Proposition 3.4.

    Args:
        coefficients: a_k from `hermite_coefficients`, at least three. Those beyond the fifth are not used, and a
            missing one counts as 0: with three there are no corrections.
        trained: "first", "second" or "both" layers.
        dim: d.

    Returns:
        A function x: (n, d) -> (n, 1 + d + d(d + 1)/2), the symmetric matrix xxᵀ as its upper half; it raises a
        `ValueError` for inputs of other norms, where they can be looked at.

    Raises:
        ValueError: fewer than three coefficients, or some that are not finite; unknown `trained`, dim below 1.

    Example:
        >>> from earlytime.activations import hermite_coefficients
        >>> psi = quadratic_features(hermite_coefficients("relu", degree=4), trained="both", dim=2)
        >>> psi(jnp.array([[1.0, 1.0]])).shape
        (1, 6)
    """
    if np.ndim(coefficients) != 1 or len(coefficients) < 3:
        raise ValueError(f"coefficients: expected shape (k,) with k >= 3, got {np.shape(coefficients)}")
    check_finite("coefficients", coefficients)
    check_trained(trained)
    check_integer("dim", dim, at_least=1)
    a = np.zeros(5)
    a[: len(coefficients)] = coefficients[:5]
    k = np.arange(5)
    c = {"first": k, "second": np.ones(5), "both": k + 1}[trained] * a**2
    return QuadraticFeatures(
        constant=float(np.sqrt(c[0] + 3 * c[4] / dim**2)),
        linear=float(np.sqrt((c[1] + 3 * c[3] / dim) / dim)),
        quadratic=float(np.sqrt(c[2]) / dim),
    )


def estimate_trace_sigma_squared(x: Num[AnyArray, "n d"]) -> Float[Array, ""]:
    r"""An unbiased estimate of Tr Σ² from inputs of mean zero.

    $$\widehat{\mathrm{Tr}\,\Sigma^2} =
      \frac{\|X^\top X\|_F^2 - \sum_i \|x_i\|^4}{n(n-1)}$$

    The plug-in ‖XᵀX/n‖_F² is too large by about d²/n.

    Args:
        x: (n, d) inputs, n >= 2.

    Returns:
        A scalar.

    Raises:
        ValueError: fewer than two samples, or entries that are not finite.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> print(f"{estimate_trace_sigma_squared(x):.4f}")
        0.3333
    """
    if np.ndim(x) != 2 or np.shape(x)[0] < 2:
        raise ValueError(f"x: expected shape (n, d) with n >= 2, got {np.shape(x)}")
    check_finite("x", x)
    x, n = floating("x", x), x.shape[0]
    fourth = jnp.sum(jnp.sum(x**2, axis=1) ** 2)
    return (jnp.sum((x.T @ x) ** 2) - fourth) / (n * (n - 1))


def early_phase(moments: GaussianMoments, *, trained: str, dim: Whole, learning_rate: Real) -> float:
    r"""The length of the early phase in steps: five time constants of the linear model of isotropic inputs.

    A time constant of the outputs is $d/(\zeta^2\eta)$ steps with one layer trained and half of it with
    both; the loss, a square, decays twice as fast. The book calls $5d/(2\zeta^2\eta)$ steps with both layers,
    $5d/(\zeta^2\eta)$ with one, the early phase.

    Args:
        moments: of the activation, from `gaussian_moments`.
        trained: "first", "second" or "both" layers.
        dim: d.
        learning_rate: η.

    Returns:
        A number of steps, not rounded.

    Raises:
        ValueError: an activation with ζ = 0, which learns nothing linear and has no such time; unknown `trained`.

    Example:
        >>> from earlytime import gaussian_moments
        >>> steps = early_phase(gaussian_moments("relu"), trained="both", dim=50, learning_rate=1.0)
        >>> print(f"{steps:.1f}")
        500.0
    """
    check_trained(trained)
    check_integer("dim", dim, at_least=1)
    check_positive("learning_rate", learning_rate)
    if abs(moments.zeta) < 1e-9:
        raise ValueError(f"moments: expected zeta other than 0, got {moments.zeta}")
    layers = 2 if trained == "both" else 1
    return float(5 * dim / (layers * moments.zeta**2) / learning_rate)
