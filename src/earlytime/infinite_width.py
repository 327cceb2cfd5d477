r"""Kernels of infinitely wide networks on data, through neural-tangents.

One function per builder of networks, with the same arguments less the width and `num_outputs`: the outputs
become independent, each with the kernel given here. `deep_kernels` has the fully connected ones as functions of
lengths and cosine, in NumPy and float64, and `affine_kernels` has their derivatives between orthogonal inputs.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from earlytime import _neural_tangents
from earlytime._arrays import AnyArray, Real, Whole, floating
from earlytime._layers import as_images, check_convolution
from earlytime._validation import check_finite, check_integer, check_scales, check_some, is_concrete
from earlytime.activations import ACTIVATIONS, Activation, LeakyRelu, resolve_activation
from earlytime.deep_kernels import Kernels
from earlytime.precision import float64
from jaxtyping import Num

_PADDINGS = {"circular": "CIRCULAR", "zero": "SAME"}
# Gauss-Hermite nodes per dimension where neural-tangents has no closed form. Its own quadrature divides by the
# variances, and zero rows or patches of zeros have none.
_QUADRATURE_NODES = 40


def fully_connected(
    activation: Activation, *, depth: Whole, weight_std: Real = 1.0, bias_std: Real = 0.0
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.fully_connected` at infinite width.

    Args:
        activation, depth, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels of (n, n2) arrays, computed in float64 whatever JAX's
        precision unless inputs are traced. It raises a ValueError for inputs of another shape, or that are not finite.

    Raises:
        ImportError: neural-tangents is not installed.
        ValueError: as `earlytime.fully_connected`.

    Example:
        >>> kernels = fully_connected("erf", depth=1)(jnp.eye(2))
        >>> kernels.ntk.shape
        (2, 2)
    """
    check_integer("depth", depth, at_least=1)
    stax = _neural_tangents.load().stax
    scales = _scales(weight_std, bias_std)
    layers = [stax.Dense(1, **scales)]
    for _ in range(depth):
        layers += [_elementwise(stax, activation), stax.Dense(1, **scales)]
    return _kernels(stax.serial(*layers))


def convolutional(
    shape: Sequence[int],
    activation: Activation,
    *,
    depth: Whole,
    filter_size: Whole,
    padding: str = "circular",
    weight_std: Real = 1.0,
    bias_std: Real = 0.0,
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.convolutional` with infinitely many channels.

    Args:
        shape, activation, depth, filter_size, padding, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels, for inputs as rows.

    Raises:
        ImportError, ValueError: as `fully_connected` here, and as the network's own builder.
    """
    check_integer("depth", depth, at_least=1)
    shape = check_convolution(shape, filter_size, padding)
    stax = _neural_tangents.load().stax
    convolve = _convolve(stax, shape, filter_size, padding, weight_std, bias_std)
    layers = [layer for _ in range(depth) for layer in (convolve(), _elementwise(stax, activation))]
    readout = stax.Dense(1, **_scales(weight_std, bias_std))
    return _kernels(stax.serial(*layers, stax.Flatten(), readout), shape)


def residual(
    shape: Sequence[int],
    activation: Activation,
    *,
    num_blocks: Whole,
    filter_size: Whole = 3,
    padding: str = "circular",
    weight_std: Real = 1.0,
    bias_std: Real = 0.0,
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.residual` with infinitely many channels.

    Args:
        shape, activation, num_blocks, filter_size, padding, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels, for inputs as rows.

    Raises:
        ImportError, ValueError: as `fully_connected` here, and as the network's own builder.
    """
    check_integer("num_blocks", num_blocks, at_least=1)
    shape = check_convolution(shape, filter_size, padding)
    stax = _neural_tangents.load().stax
    convolve = _convolve(stax, shape, filter_size, padding, weight_std, bias_std)
    phi = lambda: _elementwise(stax, activation)
    block = lambda: stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(phi(), convolve(), phi(), convolve()), stax.Identity()),
        stax.FanInSum(),
    )
    readout = stax.Dense(1, **_scales(weight_std, bias_std))
    blocks = [block() for _ in range(num_blocks)]
    return _kernels(stax.serial(convolve(), *blocks, phi(), stax.Flatten(), readout), shape)


def _scales(weight_std: Real, bias_std: Real) -> dict:
    check_scales(weight_std, bias_std)
    return {"W_std": weight_std, "b_std": bias_std or None}


def _convolve(stax, shape, filter_size, padding, weight_std, bias_std) -> Callable:
    space = "HW"[: len(shape) - 1]
    return lambda: stax.Conv(
        1,
        (filter_size,) * len(space),
        padding=_PADDINGS[padding],
        **_scales(weight_std, bias_std),
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


def _elementwise(stax, activation: Activation):
    """The layer of an activation, in closed form where neural-tangents has one."""
    phi = resolve_activation(activation)
    if phi is ACTIVATIONS["erf"]:
        return stax.Erf()
    if isinstance(phi, LeakyRelu):
        return stax.ABRelu(phi.slope, 1.0)
    slope = lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),))[1]
    return stax.Elementwise(None, _gaussian_product(phi), _gaussian_product(slope))


def _gaussian_product(phi: Callable) -> Callable:
    """E[φ(u)φ(v)] as a function of the covariance and the variances of u and v, which may be 0."""
    nodes, weights = np.polynomial.hermite.hermgauss(_QUADRATURE_NODES)
    g, weights = math.sqrt(2) * nodes, np.outer(weights, weights) / math.pi

    @jax.jit
    def product(covariance, variance, variance2):
        s, s2 = jnp.sqrt(jnp.maximum(variance, 0)), jnp.sqrt(jnp.maximum(variance2, 0))
        u, free, weight = (jnp.asarray(a, s.dtype) for a in (g[:, None], g[None, :], weights))
        cosine = jnp.where(s * s2 > 0, covariance / jnp.where(s * s2 > 0, s * s2, 1), 0)
        v = cosine * u + jnp.sqrt(jnp.maximum(1 - cosine**2, 0)) * free
        return jnp.sum(weight * phi(s * u) * phi(s2 * v))

    return product


def _kernels(layer, shape: Sequence[int] | None = None) -> Callable[..., Kernels]:
    kernel_fn = layer[2]

    def kernels(x: Num[AnyArray, "n d"], x2: Num[AnyArray, "n2 d"] | None = None) -> Kernels:
        sides = np.shape(x)[-1:] if shape is None else tuple(shape)

        def images(name, value):
            check_some(name, value)
            check_finite(name, value)
            return as_images(floating(name, value), sides, name=name)

        both = images("x", x), None if x2 is None else images("x2", x2)
        if not is_concrete(both):
            found = kernel_fn(*both, ("nngp", "ntk"))
            return Kernels(found.nngp, found.ntk)
        # Where inputs are parallel, the closed forms lose half the digits that they are computed with.
        dtype = jax.dtypes.canonicalize_dtype(both[0].dtype)
        with jax.ensure_compile_time_eval(), float64():
            found = kernel_fn(*jax.tree.map(lambda a: jnp.asarray(a, float), both), ("nngp", "ntk"))
            numbers = np.asarray(found.nngp, dtype), np.asarray(found.ntk, dtype)
        return Kernels(*map(jnp.asarray, numbers))

    return kernels
