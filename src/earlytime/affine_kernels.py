r"""What deep networks learn early: their infinite-width kernel for nearly orthogonal inputs.

The kernel of a fully connected network depends on two inputs through their lengths and their cosine
alone. Between inputs that are nearly orthogonal it is affine in $\langle x, x'\rangle/d$.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole, floating
from earlytime._validation import check_integer, check_known, check_not_negative, check_positive, check_scales
from earlytime.activations import Activation, resolve_activation
from earlytime.deep_kernels import hermite_series
from jaxtyping import Array, Float, Num


class AffineKernel(NamedTuple):
    r"""The tangent kernel κ(r, r', ρ) of a deep network near orthogonal inputs of norm √d, in float64.

    Attributes:
        slope: ∂κ/∂ρ at (1, 1, 0).
        curvature: ∂²κ/∂ρ² at (1, 1, 0).
        norms: (3, 3) the expansion of κ(r, r', 0) in both lengths,
            $\sum_{ij} \mathrm{norms}_{ij} (r-1)^i (r'-1)^j$; norms[0, 0] is κ(1, 1, 0).
    """

    slope: float
    curvature: float
    norms: Float[np.ndarray, "3 3"]


def affine_kernel(
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
) -> AffineKernel:
    r"""The derivatives of a deep network's tangent kernel that decide what it learns early.

    $$\Theta(x, x') \approx \kappa'(0)\,\rho + \kappa(0) + \tfrac12\kappa''(0)\,\rho^2, \qquad
      \rho = \langle x, x'\rangle/d$$

    By the recursion of `deep_kernel`, on Taylor polynomials in place of numbers; in float64.

    Source: Hu et al. 2020, section 4; the norms are derived in the book.

    Args:
        activation, depth, weight_std, bias_std: as in `deep_kernel`.

    Returns:
        AffineKernel.

    Raises:
        ValueError: as `deep_kernel`.

    Example:
        >>> kernel = affine_kernel("erf", depth=4)
        >>> print(f"{kernel.slope:.6f} {abs(kernel.norms[0, 0]):.6f}")
        0.916767 0.000000
    """
    phi = resolve_activation(activation)
    check_integer("depth", depth, at_least=1)
    check_scales(weight_std, bias_std)
    check_known("weight_std", weight_std)
    check_known("bias_std", bias_std)
    # With h³ = 0, a function of 1 + h is its Taylor polynomial: matrices for r - 1, r' - 1 and ρ do it all.
    one, h = np.eye(3), np.eye(3, k=-1)
    both = lambda m: np.kron(np.kron(m, m), one)  # of r times the same of r'
    covariance = lambda product: weight_std**2 * product + bias_std**2 * np.eye(len(product))
    nngp = ntk = covariance(both(one + h) @ np.kron(np.eye(9), h))
    variance = covariance((one + h) @ (one + h))
    for _ in range(depth):
        s = _square_root(variance)
        step = s - s[0, 0] * one
        series, square = (np.tensordot(part.T, [one, step, step @ step], 1) for part in hermite_series(phi, s[0, 0]))
        inverse, value, slope = np.linalg.inv(both(s)), np.zeros((27, 27)), np.zeros((27, 27))
        c = nngp @ inverse
        for a in series[::-1]:
            value, slope = value @ c + both(a), slope @ c + value
        nngp, variance = covariance(value), covariance(square)
        ntk = nngp + weight_std**2 * slope @ inverse @ ntk
    taylor = ntk[:, 0].reshape(3, 3, 3)
    return AffineKernel(float(taylor[0, 0, 1]), float(2 * taylor[0, 0, 2]), taylor[:, :, 0])


def _square_root(m: np.ndarray) -> np.ndarray:
    """Of a (3, 3) triangular matrix with one number on its diagonal."""
    rest = m / m[0, 0] - np.eye(3)
    return np.sqrt(m[0, 0]) * (np.eye(3) + rest / 2 - rest @ rest / 8)


def time_constant(kernel: AffineKernel, *, dim: Whole, learning_rate: Real) -> Real:
    r"""The time constant of what a deep network learns first, $d/(\kappa'(0)\,\eta)$ steps.

    The linear part of the outputs closes e-fold in it, for isotropic inputs and many samples; five of them are the
    early phase. With one hidden layer $\kappa'(0) = 2\zeta^2$, and it is that of `features.early_phase`.

    Source: Hu et al. 2020, section 4.

    Args:
        kernel: from `affine_kernel`.
        dim: d.
        learning_rate: η.

    Returns:
        A number of steps, not rounded.

    Raises:
        ValueError: dim below 1, a rate or a slope that is not positive.

    Example:
        >>> print(f"{time_constant(affine_kernel('relu', depth=1), dim=50, learning_rate=1.0):.4f}")
        100.0000
    """
    check_integer("dim", dim, at_least=1)
    check_positive("learning_rate", learning_rate)
    check_positive("kernel.slope", kernel.slope)
    return dim / (kernel.slope * learning_rate)


class AffineFeatures(NamedTuple):
    """A feature map x: (n, d) -> (n, d + 3) of `affine_features`.

    Attributes:
        linear: the factor of x.
        norms: (3, 3) the factors of 1, r - 1 and (r - 1)², r = ‖x‖/√d, in three further features.
    """

    linear: Float[Array, ""]
    norms: Float[Array, "3 3"]

    def __call__(self, x: Num[AnyArray, "n d"]) -> Float[Array, "n _"]:
        x = floating("x", x)
        excess = jnp.linalg.norm(x, axis=1) / math.sqrt(x.shape[1]) - 1
        powers = jnp.stack([jnp.ones_like(excess), excess, excess**2], axis=1)
        return jnp.concatenate([self.linear * x, powers @ jnp.asarray(self.norms, x.dtype)], axis=1)


def affine_features(
    kernel: AffineKernel, *, dim: Whole, mean_squared_rho: Real, equal_norms: bool = False
) -> AffineFeatures:
    r"""The feature map of the linear model that a deep network follows early on.

    Its kernel is $\kappa'(0)\,\rho + \kappa(r, r', 0) + \tfrac12\kappa''(0)\, E[\rho^2]$ with κ(r, r', 0) to
    second order in both lengths. With one hidden layer these are the features of Theorem 3.6.

    Source: Hu et al. 2020, section 4; the lengths are derived in the book.

    Args:
        kernel: from `affine_kernel`.
        dim: d.
        mean_squared_rho: E[ρ²] between different inputs, Tr(Σ²)/d² (see
            `estimate_trace_sigma_squared`); 1/q for patches of q independent pixels.
        equal_norms: all inputs have norm √d, so that the lengths carry nothing.

    Returns:
        A function x: (n, d) -> (n, d + 3); of the last three features some may be 0.

    Raises:
        ValueError: dim below 1, a mean that is negative or not finite.
    """
    check_integer("dim", dim, at_least=1)
    check_not_negative("mean_squared_rho", mean_squared_rho)
    constant = jnp.asarray([[0.5 * kernel.curvature * mean_squared_rho, 0, 0], [0, 0, 0], [0, 0, 0]])
    norms = constant + kernel.norms
    if equal_norms:
        norms = norms * jnp.asarray([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    # A kernel's table of derivatives is positive semidefinite, so it has a square root.
    values, vectors = jnp.linalg.eigh(norms)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]
    return AffineFeatures(jnp.sqrt(jnp.maximum(kernel.slope, 0) / dim), root)
