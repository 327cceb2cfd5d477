r"""What deep networks learn early: their infinite-width kernel for nearly orthogonal inputs.

The kernel of a fully connected network depends on two inputs through their lengths and their cosine
alone. Between inputs that are nearly orthogonal it is affine in $\langle x, x'\rangle/d$.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._validation import check_finite, check_integer, is_concrete
from earlytime.activations import Activation, float64, gaussian_quadrature, resolve_activation
from jaxtyping import Array, Float

# Terms of the Hermite series; what is left out falls as cosine^128.
_ORDER = 128


class Kernels(NamedTuple):
    """The two kernels of an infinitely wide network.

    Attributes:
        nngp: the covariance of the outputs over random weights.
        ntk: the tangent kernel.
    """

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."]


@functools.cache
def _hermite(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes g: (N,), and the rows density · h_k(g): (order, N) of the orthonormal Hermite polynomials."""
    g, density = gaussian_quadrature((0.0,))
    rows = [np.ones_like(g), g]
    for k in range(1, order - 1):
        rows.append((g * rows[k] - np.sqrt(k) * rows[k - 1]) / np.sqrt(k + 1))
    return g, density * np.stack(rows)


def deep_kernel(
    activation: Activation, *, depth: int, weight_std: float = 1.0, bias_std: float = 0.0
) -> Callable[..., Kernels]:
    r"""The kernels of an infinitely wide fully connected network, as functions of lengths and cosine.

    With s² = K^l(x, x) and $a_k(s) = E[\varphi(sg) h_k(g)]$, h_k the orthonormal Hermite polynomials, a
    hidden layer maps

    $$E[\varphi(u)\varphi(v)] = \sum_k a_k(s)\, a_k(s')\, c^k, \qquad c = K^l(x, x')/(ss'),$$

    and $E[\varphi'(u)\varphi'(v)]$ is its derivative in K^l(x, x'). Then
    $K^{l+1} = \sigma_w^2 E[\varphi\varphi] + \sigma_b^2$ and
    $\Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\varphi'\varphi']\, \Theta^l$.

    Source: Lee et al. 2019, appendix E; Hu et al. 2020, section 4.

    Args:
        activation: a name or a function, smooth everywhere but at 0.
        depth: hidden layers.
        weight_std, bias_std: σ_w, σ_b of `fully_connected`.

    Returns:
        A function (length, length2, cosine) -> Kernels of two inputs of norms length·√d and
        length2·√d. JAX can differentiate it; arguments broadcast. For activations with a kink the series
        is short of digits where a cosine of some layer is above about 0.95.

    Raises:
        ValueError: unknown activation, a depth below 1, a weight_std of 0 (no cosine is left to follow).

    Example:
        >>> kernel = deep_kernel("erf", depth=1)
        >>> print(f"{kernel(1.0, 1.0, 0.5).ntk:.4f}")
        0.4414
    """
    phi = resolve_activation(activation)
    check_integer("depth", depth, at_least=1)
    _check_scales(weight_std, bias_std)
    return _deep_kernel(phi, depth, float(weight_std), float(bias_std))


def _check_scales(weight_std: float, bias_std: float) -> None:
    check_finite("weight_std", weight_std)
    check_finite("bias_std", bias_std)
    if weight_std == 0:
        raise ValueError(f"weight_std: expected a number other than 0, got {weight_std}")


@functools.cache
def _deep_kernel(phi, depth, weight_std, bias_std) -> Callable[..., Kernels]:
    one_pair = functools.partial(_one_pair(phi, weight_std, bias_std), depth)
    vectorized = jax.jit(jnp.vectorize(one_pair, signature="(),(),()->(),()"))

    def kernel(length, length2, cosine) -> Kernels:
        dtype = jnp.result_type(float)
        return Kernels(*vectorized(*(jnp.asarray(v, dtype) for v in (length, length2, cosine))))

    return kernel


def _one_pair(phi: Callable, weight_std: float, bias_std: float) -> Callable:
    """(depth, length, length2, cosine) -> both kernels."""
    g, rows = _hermite(_ORDER)

    def one_pair(depth, length, length2, cosine):
        nodes, table = jnp.asarray(g, cosine.dtype), jnp.asarray(rows, cosine.dtype)

        def hidden_layer(_, carry):
            nngp, ntk, variance, variance2 = carry
            s, s2 = jnp.sqrt(variance), jnp.sqrt(variance2)
            values, values2 = phi(s * nodes), phi(s2 * nodes)
            series = (table @ values) * (table @ values2)
            powers = jnp.cumprod(jnp.full(_ORDER - 1, nngp / (s * s2)))  # of the cosine, from the first on
            orders = jnp.arange(1, _ORDER, dtype=cosine.dtype)
            slope = (series[1] + (orders * series[1:])[1:] @ powers[:-1]) / (s * s2)
            nngp = weight_std**2 * (series[0] + series[1:] @ powers) + bias_std**2
            ntk = nngp + weight_std**2 * slope * ntk
            variance, variance2 = (weight_std**2 * table[0] @ v**2 + bias_std**2 for v in (values, values2))
            return nngp, ntk, variance, variance2

        at_first = lambda product: weight_std**2 * product + bias_std**2
        nngp = at_first(cosine * length * length2)
        start = nngp, nngp, at_first(length**2), at_first(length2**2)
        return jax.lax.fori_loop(0, depth, hidden_layer, start)[:2]

    return one_pair


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
    activation: Activation, *, depth: int, weight_std: float = 1.0, bias_std: float = 0.0
) -> AffineKernel:
    r"""The derivatives of a deep network's tangent kernel that decide what it learns early.

    $$\Theta(x, x') \approx \kappa'(0)\,\rho + \kappa(0) + \tfrac12\kappa''(0)\,\rho^2, \qquad
      \rho = \langle x, x'\rangle/d$$

    By automatic differentiation of `deep_kernel`, in float64 whatever JAX's precision.

    Source: Hu et al. 2020, section 4; the norms are derived in the book.

    Args:
        activation, depth, weight_std, bias_std: as in `deep_kernel`.

    Returns:
        AffineKernel.

    Example:
        >>> kernel = affine_kernel("erf", depth=4)
        >>> print(f"{kernel.slope:.6f} {abs(kernel.norms[0, 0]):.6f}")
        0.916767 0.000000
    """
    check_integer("depth", depth, at_least=1)
    _check_scales(weight_std, bias_std)
    # Operation by operation: the XLA of JAX 0.12 needs minutes to compile four derivatives of a loop.
    with float64(), jax.disable_jit():
        found = _derivatives(resolve_activation(activation), float(weight_std), float(bias_std), depth)
        slope, curvature, norms = jax.tree.map(np.asarray, found)
    return AffineKernel(float(slope), float(curvature), norms)


def _derivatives(phi, weight_std, bias_std, depth):
    kernel, one, zero = _one_pair(phi, weight_std, bias_std), jnp.ones(()), jnp.zeros(())
    ntk = lambda *at: kernel(depth, *at)[1]
    in_rho = _taylor(lambda rho: ntk(one, one, rho), zero)
    in_lengths = _taylor(lambda r2: _taylor(lambda r: ntk(r, r2, zero), one), one)
    return in_rho[1], 2 * in_rho[2], in_lengths


def _taylor(f: Callable, at: Float[Array, ""]) -> Float[Array, "3 ..."]:
    """f, f' and f''/2 at a point."""
    once = lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))
    (value, first), (_, second) = jax.jvp(once, (at,), (jnp.ones_like(at),))
    return jnp.stack([value, first, second / 2])


class AffineFeatures(NamedTuple):
    """A feature map x: (n, d) -> (n, d + p) of `affine_features`.

    Attributes:
        linear: the factor of x.
        norms: (3, p) the factors of 1, r - 1 and (r - 1)², r = ‖x‖/√d, in p further features.
    """

    linear: Float[Array, ""]
    norms: Float[Array, "3 p"]

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d+p"]:
        excess = jnp.linalg.norm(x, axis=1) / np.sqrt(x.shape[1]) - 1
        powers = jnp.stack([jnp.ones_like(excess), excess, excess**2], axis=1)
        return jnp.concatenate([self.linear * x, powers @ jnp.asarray(self.norms, x.dtype)], axis=1)


def affine_features(
    kernel: AffineKernel, *, dim: int, mean_squared_rho: float, equal_norms: bool = False
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
        A function x: (n, d) -> (n, d + p), p at most 3.

    Raises:
        ValueError: dim below 1, a mean that is negative or not finite.
    """
    check_integer("dim", dim, at_least=1)
    check_finite("mean_squared_rho", mean_squared_rho)
    if is_concrete(mean_squared_rho) and float(mean_squared_rho) < 0:
        raise ValueError(f"mean_squared_rho: expected at least 0, got {mean_squared_rho}")
    constant = jnp.asarray([[0.5 * kernel.curvature * mean_squared_rho, 0, 0], [0, 0, 0], [0, 0, 0]])
    norms = constant + kernel.norms
    if equal_norms:
        norms = norms * jnp.asarray([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    # A kernel's table of derivatives is positive semidefinite, so it has a square root.
    values, vectors = jnp.linalg.eigh(norms)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))
    return AffineFeatures(jnp.sqrt(jnp.maximum(kernel.slope, 0) / dim), root)
