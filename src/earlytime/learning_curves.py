r"""Learning curves of kernel regression on the sphere: which degrees of a polynomial are learned from how many samples.

Inputs are uniform on the sphere of radius √d, and a kernel is a function of $\rho = \langle x, x'\rangle/d$.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers, Real, Whole, floating
from earlytime._validation import check_integer, check_not_negative, check_on_sphere
from jaxtyping import Array, Float, Num, PRNGKeyArray


def harmonic_labels(
    key: PRNGKeyArray, x: Num[AnyArray, "num_samples dim"], *, degree: Whole
) -> Float[Array, " num_samples"]:
    r"""Labels that a random spherical harmonic of degree 1 or 2 gives, of mean 0 and variance 1 on the sphere.

    $$y = \frac{\langle w, x\rangle}{\|w\|}, \qquad
      y = \sqrt{\frac{d + 2}{2d}}\; \frac{x^\top A x}{\|A\|_F}, \quad A = A^\top,\ \mathrm{Tr}\,A = 0,$$

    with w and A Gaussian, so that no direction among the harmonics of one degree is preferred. The same key gives
    the same harmonic: call it with the training and with the test inputs.

    Source: Xiao et al. 2022, the isotropic target.

    Args:
        key: random key of the harmonic.
        x: (n, d) inputs of norm √d, d >= 2.
        degree: 1 or 2.

    Returns:
        (n,).

    Raises:
        ValueError: another degree; inputs of other norms, where they can be looked at, or of one dimension.

    Example:
        >>> x = jnp.sqrt(3.0) * jnp.eye(3)
        >>> print(f"{jnp.abs(jnp.sum(harmonic_labels(jax.random.key(0), x, degree=2))):.4f}")  # the trace of A
        0.0000
    """
    check_integer("degree", degree, at_least=1, at_most=2)
    check_on_sphere("x", x)
    dim = int(np.shape(x)[1])
    if dim < 2:
        raise ValueError(f"x: expected at least 2 dimensions, got {dim}")
    x = floating("x", x)
    if degree == 1:
        w = jax.random.normal(key, (dim,), x.dtype)
        return x @ (w / jnp.linalg.norm(w))
    a = jax.random.normal(key, (dim * dim,), x.dtype).reshape(dim, dim)
    a = a + a.T
    a = a - jnp.trace(a) / dim * jnp.eye(dim, dtype=x.dtype)
    return math.sqrt((dim + 2) / (2 * dim)) / jnp.linalg.norm(a) * jnp.sum((x @ a) * x, axis=1)


class SphereSpectrum(NamedTuple):
    """The eigenvalues of a kernel on the sphere, one for each degree, in float64.

    Attributes:
        eigenvalues: (K,) λ_k, k = 0, …, K - 1, on harmonics of degree k.
        multiplicities: (K,) N_k, how many of these there are.
        rest: Σ N_k λ_k of all higher degrees.
    """

    eigenvalues: Float[np.ndarray, " degrees"]
    multiplicities: Float[np.ndarray, " degrees"]
    rest: float


def sphere_spectrum(kernel: Callable, *, dim: Whole, num_degrees: Whole) -> SphereSpectrum:
    r"""The eigenvalues of a kernel κ(ρ) on the sphere, by the Funk-Hecke formula.

    $$\lambda_k = E[\kappa(\rho) P_k(\rho)] \approx \frac{k!\, c_k}{d^k}, \qquad \kappa(1) = \sum_k N_k \lambda_k$$

    with P_k the Gegenbauer polynomials, P_k(1) = 1, and ρ the cosine of two random inputs. The quadrature is in the
    angle, in which the kernels of networks with kinks are smooth, too; in float64.

    Source: Xiao et al. 2022; the formula is classical.

    Args:
        kernel: κ, an array of cosines -> an array of its shape.
        dim: d >= 3.
        num_degrees: how many degrees, 0 among them.

    Returns:
        SphereSpectrum.

    Raises:
        ValueError: dim below 3, num_degrees below 1; a kernel with another shape, a value that is not finite, or a
            negative eigenvalue beyond rounding.

    Example:
        >>> spectrum = sphere_spectrum(lambda rho: rho**2, dim=4, num_degrees=3)
        >>> print(np.round(spectrum.eigenvalues, 4), spectrum.multiplicities)
        [0.25   0.     0.0833] [1. 4. 9.]
    """
    check_integer("dim", dim, at_least=3)
    check_integer("num_degrees", num_degrees, at_least=1)
    nodes, weights = np.polynomial.legendre.leggauss(max(200, int(10 * math.sqrt(dim))))
    angle = np.pi / 2 * (nodes + 1)
    cosine = np.append(np.cos(angle), 1.0)
    values = np.asarray(kernel(cosine), np.float64)
    if values.shape != cosine.shape or not np.all(np.isfinite(values)):
        raise ValueError(f"kernel: expected finite values of shape {cosine.shape}, got shape {values.shape}")
    weights = weights * np.sin(angle) ** (dim - 2)
    weights = weights / weights.sum()
    before, polynomial, eigenvalues = np.zeros_like(angle), np.ones_like(angle), []
    for k in range(int(num_degrees)):
        eigenvalues.append(weights @ (values[:-1] * polynomial))
        step = ((2 * k + dim - 2) * cosine[:-1] * polynomial - k * before) / (k + dim - 2)
        before, polynomial = polynomial, step
    found = np.stack(eigenvalues)
    multiplicities = np.asarray(
        [float(math.comb(k + dim - 1, k) - (math.comb(k + dim - 3, k - 2) if k > 1 else 0)) for k in range(num_degrees)]
    )
    traces = multiplicities * found
    if np.any(traces < -1e-6 * np.abs(values[-1])):
        raise ValueError(f"kernel: expected no negative eigenvalue, got {found}")
    return SphereSpectrum(np.maximum(found, 0.0), multiplicities, float(max(values[-1] - traces.sum(), 0.0)))


def ridge_learning_curve(
    spectrum: SphereSpectrum, power: Numbers, num_samples: Numbers, *, ridge: Real = 0.0, noise: Real = 0.0
) -> Float[np.ndarray, " sizes"]:
    r"""The test error of kernel ridge regression as its deterministic equivalent gives it.

    $$n = \sum_k N_k L_k + \frac{\delta}{\kappa}, \quad L_k = \frac{\lambda_k}{\lambda_k + \kappa}, \qquad
      \mathrm{error} = \frac{\sum_k (1 - L_k)^2 F_k^2 + \sigma^2}{1 - \sum_k N_k L_k^2/n},$$

    with δ the ridge, as in $(K + \delta I)^{-1} y$, and the trace of the degrees that the spectrum leaves out, which
    act as more of it. Ridgeless regression has δ > 0 by these alone.

    Source: Xiao et al. 2022 for its limits in n/d^r; the formula at finite size as we understand it.

    Args:
        spectrum: from `sphere_spectrum`.
        power: (K,) F_k², the mean square of the target's part of degree k. A part of higher degree is noise.
        num_samples: (s,) n, each at least 1.
        ridge: of K + ridge·I.
        noise: σ², the variance of the noise in the training and in the test labels.

    Returns:
        (s,) the mean square error against test labels with their noise, so at least σ².

    Raises:
        ValueError: shapes that do not fit, negative numbers, fewer than one sample; no ridge for a spectrum that
            leaves nothing out.

    Example:
        >>> spectrum = sphere_spectrum(lambda rho: np.exp(rho), dim=8, num_degrees=3)
        >>> print(np.round(ridge_learning_curve(spectrum, [0, 1, 0], [1, 8, 64]), 3))
        [1.021 0.446 0.002]
    """
    power, n = np.asarray(power, np.float64), np.asarray(num_samples, np.float64)
    if power.shape != spectrum.eigenvalues.shape:
        raise ValueError(f"power: expected one number for each degree, {spectrum.eigenvalues.shape}, got {power.shape}")
    check_not_negative("power", power)
    if n.ndim != 1 or not n.size or not np.all(n >= 1) or not np.all(np.isfinite(n)):
        raise ValueError(f"num_samples: expected several of at least 1, got {num_samples}")
    check_not_negative("ridge", ridge)
    check_not_negative("noise", noise)
    delta = float(ridge) + spectrum.rest
    if delta <= 1e-12 * float(spectrum.multiplicities @ spectrum.eigenvalues):
        raise ValueError(f"ridge: expected a positive one, as the spectrum leaves nothing out, got {ridge}")
    eigenvalues = spectrum.eigenvalues[:, None]
    learned = lambda kappa: eigenvalues / (eigenvalues + kappa[None, :])
    low, high = delta / n, (delta + spectrum.multiplicities @ spectrum.eigenvalues) / n
    for _ in range(100):  # bisection of log κ, in which both ends are known
        middle = np.sqrt(low * high)
        too_small = spectrum.multiplicities @ learned(middle) + delta / middle > n
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    share = learned(np.sqrt(low * high))
    unlearned = power @ (1 - share) ** 2 + float(noise)
    return unlearned / (1 - spectrum.multiplicities @ share**2 / n)
