r"""Kernels of infinitely wide, fully connected networks, as functions of lengths and cosine."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from earlytime._arrays import AnyArray, Real, Whole
from earlytime._derivatives import derivatives
from earlytime._hermite import hermite_polynomials
from earlytime._validation import check_integer, check_known, check_scales
from earlytime.activations import Activation, gaussian_quadrature, resolve_activation
from jaxtyping import Float

# Terms of the Hermite series; what is left out falls as cosine^128, and a kink, of which much is left, is apart.
_ORDER = 128
_TINY = 1e-12


class Kernels(NamedTuple):
    """The two kernels of an infinitely wide network, in JAX's arrays or in NumPy's.

    Attributes:
        nngp: the covariance of the outputs over random weights.
        ntk: the tangent kernel.
    """

    nngp: Float[AnyArray, "..."]
    ntk: Float[AnyArray, "..."]


def deep_kernel(
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
) -> Callable[..., Kernels]:
    r"""The kernels of an infinitely wide fully connected network, as functions of lengths and cosine.

    With s² = K^l(x, x) and $a_k(s) = E[\varphi(sg) h_k(g)]$, h_k the orthonormal Hermite polynomials, a
    hidden layer maps

    $$E[\varphi(u)\varphi(v)] = \sum_k a_k(s)\, a_k(s')\, c^k, \qquad c = K^l(x, x')/(ss'),$$

    and $E[\varphi'(u)\varphi'(v)]$ is its derivative in K^l(x, x'). Then
    $K^{l+1} = \sigma_w^2 E[\varphi\varphi] + \sigma_b^2$ and
    $\Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\varphi'\varphi']\, \Theta^l$.

    The series has 128 terms. A kink at 0 makes them fall slowly, as those of $J s\,\mathrm{relu}(g)$ do, J being the
    jump of φ'. What these add up to beyond the last term is known: $J^2 s s'$ times the arc-cosine kernel
    $\big(\sqrt{1 - c^2} + (\pi - \arccos c)\, c\big)/2\pi$ less its first 128 terms.

    Source: Lee et al. 2019, appendix E; Hu et al. 2020, section 4; Cho & Saul 2009 for the arc-cosine kernel.

    Args:
        activation: a name or a function, smooth everywhere but at 0.
        depth: hidden layers.
        weight_std, bias_std: σ_w, σ_b of `fully_connected`.

    Returns:
        A function (length, length2, cosine) -> Kernels of two inputs of norms length·√d and
        length2·√d, in NumPy and float64; arguments broadcast. Where it is φ'' that jumps, as ELU's, 3e-5 may
        be missing at the cosines ±1. It raises `ValueError` for a length below 0 and for a cosine that is none.

    Raises:
        ValueError: unknown activation, a depth below 1, a weight_std <= 0, a bias_std < 0.

    Example:
        >>> kernel = deep_kernel("erf", depth=1)
        >>> print(f"{kernel(1.0, 1.0, 0.5).ntk:.4f}")
        0.4414
    """
    phi = resolve_activation(activation)
    check_integer("depth", depth, at_least=1)
    check_scales(weight_std, bias_std)
    check_known("weight_std", weight_std)
    check_known("bias_std", bias_std)
    g, _, rows = _hermite()
    of_relu, (_, slopes, _) = rows @ np.maximum(g, 0.0), derivatives(phi, _TINY)
    jump = slopes[-1] - slopes[0]

    def kernel(length, length2, cosine) -> Kernels:
        for name, value in (("length", length), ("length2", length2), ("cosine", cosine)):
            check_known(name, value)
        length, length2, cosine = (np.asarray(v, dtype=float) for v in (length, length2, cosine))
        for name, value in (("length", length), ("length2", length2)):
            _check_lengths(name, value)
        if not np.all(np.abs(cosine) <= 1 + 1e-5):  # but for rounding in float32
            raise ValueError(f"cosine: expected numbers from -1 to 1, got {np.max(np.abs(cosine))} in absolute value")
        covariance = lambda product: weight_std**2 * product + bias_std**2
        nngp = ntk = covariance(cosine * length * length2)
        variance, variance2 = covariance(length**2), covariance(length2**2)
        for _ in range(depth if nngp.size else 0):
            s, s2 = np.sqrt(variance), np.sqrt(variance2)
            (series, square), (series2, square2) = _every_series(phi, s), _every_series(phi, s2)
            # Where a length is 0 so is K, and the cosine plays no part.
            c = np.clip(nngp / np.where(s * s2 == 0, 1.0, s * s2), -1.0, 1.0)
            kink = jump**2 * s * s2
            value = slope = 0.0
            for a, a2, r in zip(series[::-1], series2[::-1], of_relu[::-1]):  # Horner's rule, with the derivative
                value, slope = value * c + a * a2 - kink * r**2, slope * c + value
            value = value + kink * (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / (2 * np.pi)
            slope = slope + kink * (np.pi - np.arccos(c)) / (2 * np.pi)
            nngp, variance, variance2 = covariance(value), covariance(square), covariance(square2)
            ntk = nngp + weight_std**2 * slope / np.where(s * s2 == 0, 1.0, s * s2) * ntk
        return Kernels(nngp, ntk)

    return kernel


def _check_lengths(name: str, value: np.ndarray) -> None:
    if not np.all(value >= 0):
        raise ValueError(f"{name}: expected lengths of at least 0, got {np.min(value)}")


def _every_series(phi: Callable, s: Real | Float[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
    """a_k(s) and E[φ(sg)²] of every s: (order, *shape) and (*shape,)."""
    found = [hermite_series(phi, each) for each in np.ravel(s)]
    series, square = (np.stack([part[0] for part in parts], axis=-1) for parts in zip(*found))
    return series.reshape(-1, *np.shape(s)), square.reshape(np.shape(s))


def diagonal_kernel(
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
) -> Callable[..., Kernels]:
    r"""The kernels of an input with itself, as functions of its length: `deep_kernel` at cosine 1, without a series.

    There one Gaussian is enough, $s^2 = K^l(x, x)$,

    $$K^{l+1} = \sigma_w^2 E[\varphi(sg)^2] + \sigma_b^2, \qquad
      \Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\varphi'(sg)^2]\, \Theta^l.$$

    Source: Lee et al. 2019, appendix E; Hu et al. 2020, section 4.

    Args:
        activation, depth, weight_std, bias_std: as in `deep_kernel`.

    Returns:
        A function (length) -> Kernels of an input of norm length·√d with itself, in the shape of its
        argument, in NumPy and float64.

    Raises:
        ValueError: as `deep_kernel`.

    Example:
        >>> print(f"{diagonal_kernel('relu', depth=8)(1.0).ntk:.4f}")
        0.0352
    """
    phi = resolve_activation(activation)
    check_integer("depth", depth, at_least=1)
    check_scales(weight_std, bias_std)
    check_known("weight_std", weight_std)
    check_known("bias_std", bias_std)
    _, density, _ = _hermite()

    def kernel(length) -> Kernels:
        check_known("length", length)
        length = np.asarray(length, dtype=float)
        _check_lengths("length", length)
        nngp = ntk = weight_std**2 * length**2 + bias_std**2
        for _ in range(depth if nngp.size else 0):
            found = [derivatives(phi, s)[:2] ** 2 @ density for s in np.sqrt(nngp).ravel()]
            square, slope = np.stack(found, axis=-1).reshape(2, *length.shape)
            nngp = weight_std**2 * square + bias_std**2
            ntk = nngp + weight_std**2 * slope * ntk
        return Kernels(nngp, ntk)

    return kernel


def hermite_series(phi: Callable, s: Real) -> tuple[Float[np.ndarray, "3 order"], Float[np.ndarray, "3"]]:
    r"""The Hermite series of φ(sg), to second order around s.

    $$E[\varphi((s + h)g)\, h_k(g)] \approx \sum_i a_{ik}\, h^i, \qquad
      E[\varphi((s + h)g)^2] \approx \sum_i b_i\, h^i$$

    Args:
        phi: a function, smooth everywhere but at 0.
        s: the standard deviation, > 0.

    Returns:
        a: (3, 128) and b: (3,).

    Example:
        >>> print(hermite_series(lambda z: z, 2.0)[1])  # of (s + h)²
        [4. 4. 1.]
    """
    g, density, rows = _hermite()
    value, slope, curvature = derivatives(phi, s)
    first, second = g * slope, g**2 * curvature / 2
    squares = np.stack([value**2, 2 * value * first, first**2 + 2 * value * second])
    return np.stack([value, first, second]) @ rows.T, squares @ density


@functools.cache
def _hermite() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes g and their weights: (N,), and the rows weight · h_k(g): (order, N) of the Hermite polynomials."""
    g, density = gaussian_quadrature((0.0,))
    return g, density, density * hermite_polynomials(g, _ORDER - 1)
