r"""Kernels of infinitely wide, fully connected networks, as functions of lengths and cosine."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import Real, Whole
from earlytime._validation import check_integer, check_scales
from earlytime.activations import Activation, gaussian_quadrature, resolve_activation
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
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
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
        is short of digits where a cosine of some layer is above about 0.95. At 1, use `diagonal_kernel`.

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
    return _deep_kernel(phi, depth, float(weight_std), float(bias_std))


@functools.cache
def _deep_kernel(phi, depth, weight_std, bias_std) -> Callable[..., Kernels]:
    of_a_pair = functools.partial(one_pair(phi, weight_std, bias_std), depth)
    vectorized = jax.jit(jnp.vectorize(of_a_pair, signature="(),(),()->(),()"))

    def kernel(length, length2, cosine) -> Kernels:
        dtype = jnp.result_type(float)
        return Kernels(*vectorized(*(jnp.asarray(v, dtype) for v in (length, length2, cosine))))

    return kernel


def diagonal_kernel(
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
) -> Callable[..., Kernels]:
    r"""The kernels of an input with itself, as functions of its length: `deep_kernel` at cosine 1.

    There one Gaussian is enough, $s^2 = K^l(x, x)$,

    $$K^{l+1} = \sigma_w^2 E[\varphi(sg)^2] + \sigma_b^2, \qquad
      \Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\varphi'(sg)^2]\, \Theta^l,$$

    and nothing is short of digits: of 8 layers of ReLU the series makes 0.0320, this 9/2⁸ = 0.0352.

    Source: Lee et al. 2019, appendix E; Hu et al. 2020, section 4.

    Args:
        activation, depth, weight_std, bias_std: as in `deep_kernel`.

    Returns:
        A function (length) -> Kernels of an input of norm length·√d with itself, in the shape of its argument.

    Raises:
        ValueError: as `deep_kernel`.

    Example:
        >>> print(f"{diagonal_kernel('relu', depth=8)(1.0).ntk:.4f}")
        0.0352
    """
    phi = resolve_activation(activation)
    check_integer("depth", depth, at_least=1)
    check_scales(weight_std, bias_std)
    g, density = gaussian_quadrature((0.0,))

    def kernel(length) -> Kernels:
        length = jnp.asarray(length, jnp.result_type(float))
        nodes, weights = jnp.asarray(g, length.dtype), jnp.asarray(density, length.dtype)
        nngp = ntk = weight_std**2 * length**2 + bias_std**2
        for _ in range(depth):
            z = jnp.multiply.outer(jnp.sqrt(nngp), nodes)
            values, slopes = jax.jvp(phi, (z,), (jnp.ones_like(z),))
            nngp = weight_std**2 * (values**2 @ weights) + bias_std**2
            ntk = nngp + weight_std**2 * (slopes**2 @ weights) * ntk
        return Kernels(nngp, ntk)

    return kernel


def one_pair(phi: Callable, weight_std: Real, bias_std: Real) -> Callable:
    """(depth, length, length2, cosine) -> both kernels."""
    g, rows = _hermite(_ORDER)

    def kernels(depth, length, length2, cosine):
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

    return kernels
