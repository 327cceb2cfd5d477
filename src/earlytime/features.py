"""The papers' features: what a two-layer network is linear in early on, and the Tr Σ² that they need."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole, floating
from earlytime._validation import check_finite, check_integer, check_not_negative, check_positive, check_trained
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
    norm: tuple[float, float, float] | None

    def __call__(self, x: Num[AnyArray, "n d"]) -> Float[Array, "n p"]:
        x = floating("x", x)
        columns = [self.linear * x, jnp.broadcast_to(self.constant, (x.shape[0], 1)).astype(x.dtype)]
        if self.norm is not None:
            columns.append(norm_feature(self.norm, x)[:, None])
        return jnp.concatenate(columns, axis=1)


def norm_feature(theta: tuple[float, float, float], x: Num[AnyArray, "n d"]) -> Float[Array, " n"]:
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
