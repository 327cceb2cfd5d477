r"""Deep networks in NTK parameterization: fully connected, convolutional and residual.

Every weight is drawn from N(0, 1) and every layer divides by the square root of its fan-in. The
readout gives one number per sample, or `num_outputs` of them; behind convolutions it has weights of
its own at every position.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._validation import check_integer
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import Network
from jaxtyping import Array, Float, PRNGKeyArray

_PADDINGS = ("circular", "zero")


class Layer(NamedTuple):
    """Weights and biases of one layer, as drawn: N(0, 1); b is None where the network has no biases."""

    w: Float[Array, "... fan_in fan_out"]
    b: Float[Array, " fan_out"] | None


def fully_connected(
    dim: int,
    width: int | Sequence[int],
    activation: Activation,
    *,
    depth: int,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    num_outputs: int | None = None,
) -> Network:
    r"""A fully connected network with `depth` hidden layers.

    $$h^{l+1} = \frac{\sigma_w}{\sqrt{n_l}}\, W^{l+1} z^l + \sigma_b\, b^{l+1}, \qquad z^l = \varphi(h^l), \quad z^0 = x$$

    Source: Hu et al. 2020, section 4; Lee et al. 2019, section 2.

    Args:
        dim: d, the number of inputs.
        width: neurons of every hidden layer, or one number per hidden layer: (1024, 4, 1024) has a bottleneck.
        activation: a name or a function.
        depth: hidden layers, at least 1.
        weight_std: σ_w.
        bias_std: σ_b; 0 leaves the biases out.
        num_outputs: k, numbers per sample; None for one number without an axis of its own.

    Returns:
        Network: `init(key)` gives a tuple of `depth + 1` `Layer`s, `apply(params, x: (n, d)) -> (n,)`,
        or (n, k) with `num_outputs`.

    Raises:
        ValueError: a size below 1, widths that are not `depth` many, an unknown activation, a scale that is
            negative or not finite.

    Example:
        >>> network = fully_connected(3, 8, "erf", depth=4)
        >>> params = network.init(jax.random.key(0))
        >>> len(params), network.apply(params, jnp.ones((2, 3))).shape
        (5, (2,))
    """
    check_integer("dim", dim, at_least=1)
    check_integer("depth", depth, at_least=1)
    widths = tuple(width) if isinstance(width, Sequence) else (width,) * depth
    for size in widths:
        check_integer("width", size, at_least=1)
    if len(widths) != depth:
        raise ValueError(f"width: expected one number, or {depth}, one per hidden layer, got {width!r}")
    num_outputs = _check_readout(weight_std, bias_std, num_outputs)
    return _fully_connected(
        int(dim),
        tuple(map(int, widths)),
        resolve_activation(activation),
        float(weight_std),
        float(bias_std),
        num_outputs,
    )


@functools.cache
def _fully_connected(dim, widths, phi, weight_std, bias_std, num_outputs) -> Network:
    sizes = (dim, *widths, num_outputs or 1)

    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        return _draw(key, list(zip(sizes, sizes[1:])), bias_std)

    def apply(params: tuple[Layer, ...], x: Float[Array, "n dim"]) -> Float[Array, "n *k"]:
        h = _dense(params[0], x, weight_std, bias_std)
        for layer in params[1:]:
            h = _dense(layer, phi(h), weight_std, bias_std)
        return h[:, 0] if num_outputs is None else h

    return Network(init, apply)


def convolutional(
    shape: Sequence[int],
    channels: int,
    activation: Activation,
    *,
    depth: int,
    filter_size: int,
    padding: str = "circular",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    num_outputs: int | None = None,
) -> Network:
    r"""A convolutional network with `depth` hidden layers, on sequences or images.

    With one hidden layer of m channels on a sequence of d pixels it is the network of section 4,

    $$f(x; W, V) = \frac{1}{\sqrt{md}} \sum_{r=1}^m v_r^\top\, \varphi(w_r * x/\sqrt q).$$

    Source: Hu et al. 2020, section 4 (Proposition 4.1 and Figure 4).

    Args:
        shape: of one input: (length, channels) or (height, width, channels).
        channels: m, of every hidden layer.
        activation: a name or a function.
        depth: hidden layers, at least 1.
        filter_size: q, pixels of a filter along each side.
        padding: "circular", or "zero" outside of the input.
        weight_std, bias_std, num_outputs: σ_w, σ_b and k, as in `fully_connected`.

    Returns:
        Network: `apply(params, x) -> (n,)`, or (n, k), for inputs as rows (n, d), d = product of
        `shape`, as `load_images` and the linear models have them.

    Raises:
        ValueError: as `fully_connected`; a shape that is no sequence or image, a filter larger than
            the input, an unknown padding.

    Example:
        >>> network = convolutional((8, 8, 3), 16, "erf", depth=2, filter_size=3)
        >>> network.apply(network.init(jax.random.key(0)), jnp.ones((2, 192))).shape
        (2,)
    """
    shape = _check_convolution(shape, channels, filter_size, padding)
    check_integer("depth", depth, at_least=1)
    num_outputs = _check_readout(weight_std, bias_std, num_outputs)
    return _convolutional(
        shape,
        int(channels),
        resolve_activation(activation),
        int(depth),
        int(filter_size),
        padding,
        float(weight_std),
        float(bias_std),
        num_outputs,
    )


@functools.cache
def _convolutional(shape, channels, phi, depth, filter_size, padding, weight_std, bias_std, num_outputs) -> Network:
    sides = (filter_size,) * (len(shape) - 1)
    fans = (shape[-1], *[channels] * depth)
    positions = math.prod(shape[:-1])

    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        filters = [(*sides, fan_in, fan_out) for fan_in, fan_out in zip(fans, fans[1:])]
        return _draw(key, [*filters, (positions * channels, num_outputs or 1)], bias_std)

    def apply(params: tuple[Layer, ...], x: Float[Array, "n d"]) -> Float[Array, "n *k"]:
        z = x.reshape(-1, *shape)
        for layer in params[:-1]:
            z = phi(_convolve(layer, z, padding, weight_std, bias_std))
        out = _dense(params[-1], z.reshape(len(z), -1), weight_std, bias_std)
        return out[:, 0] if num_outputs is None else out

    return Network(init, apply)


def residual(
    shape: Sequence[int],
    channels: int,
    activation: Activation,
    *,
    num_blocks: int,
    filter_size: int = 3,
    padding: str = "circular",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    num_outputs: int | None = None,
) -> Network:
    r"""A wide residual network: a convolution, then blocks $z \mapsto z + C_2\varphi(C_1\varphi(z))$, then the readout of φ(z).

    Source: Lee et al. 2019, section 3 (its wide residual network, without pooling).

    Args:
        shape, channels, activation, filter_size, padding, weight_std, bias_std, num_outputs: as in
            `convolutional`.
        num_blocks: residual blocks, at least 1.

    Returns:
        Network, on inputs as rows.

    Raises:
        ValueError: as `convolutional`.

    Example:
        >>> network = residual((8, 8, 3), 16, "relu", num_blocks=2)
        >>> network.apply(network.init(jax.random.key(0)), jnp.ones((2, 192))).shape
        (2,)
    """
    shape = _check_convolution(shape, channels, filter_size, padding)
    check_integer("num_blocks", num_blocks, at_least=1)
    num_outputs = _check_readout(weight_std, bias_std, num_outputs)
    return _residual(
        shape,
        int(channels),
        resolve_activation(activation),
        int(num_blocks),
        int(filter_size),
        padding,
        float(weight_std),
        float(bias_std),
        num_outputs,
    )


@functools.cache
def _residual(shape, channels, phi, num_blocks, filter_size, padding, weight_std, bias_std, num_outputs) -> Network:
    sides = (filter_size,) * (len(shape) - 1)
    positions = math.prod(shape[:-1])

    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        inside = [(*sides, channels, channels)] * (2 * num_blocks)
        return _draw(key, [(*sides, shape[-1], channels), *inside, (positions * channels, num_outputs or 1)], bias_std)

    def apply(params: tuple[Layer, ...], x: Float[Array, "n d"]) -> Float[Array, "n *k"]:
        convolve = lambda layer, z: _convolve(layer, z, padding, weight_std, bias_std)
        z = convolve(params[0], x.reshape(-1, *shape))
        for first, second in zip(params[1:-1:2], params[2:-1:2]):
            z = z + convolve(second, phi(convolve(first, phi(z))))
        out = _dense(params[-1], phi(z).reshape(len(z), -1), weight_std, bias_std)
        return out[:, 0] if num_outputs is None else out

    return Network(init, apply)


def _check_readout(weight_std, bias_std, num_outputs) -> int | None:
    for name, value, low in (("weight_std", weight_std, "> 0"), ("bias_std", bias_std, ">= 0")):
        if not np.isfinite(value) or value < 0 or (value == 0 and low == "> 0"):
            raise ValueError(f"{name}: expected a finite number {low}, got {value}")
    if num_outputs is None:
        return None
    check_integer("num_outputs", num_outputs, at_least=1)
    return int(num_outputs)


def _check_convolution(shape, channels, filter_size, padding) -> tuple[int, ...]:
    shape = tuple(shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape: expected (length, channels) or (height, width, channels), got {shape}")
    for side in shape:
        check_integer("shape", side, at_least=1)
    check_integer("channels", channels, at_least=1)
    check_integer("filter_size", filter_size, at_least=1)
    if filter_size > min(shape[:-1]):
        raise ValueError(f"filter_size: expected at most {min(shape[:-1])}, the input's side, got {filter_size}")
    if padding not in _PADDINGS:
        raise ValueError(f"padding: expected one of {', '.join(_PADDINGS)}, got {padding!r}")
    return tuple(int(side) for side in shape)


def _draw(key: PRNGKeyArray, shapes: list[tuple[int, ...]], bias_std: float) -> tuple[Layer, ...]:
    def draw(key, shape):
        key_w, key_b = jax.random.split(key)
        return Layer(w=jax.random.normal(key_w, shape), b=jax.random.normal(key_b, shape[-1:]) if bias_std else None)

    return tuple(draw(key, shape) for key, shape in zip(jax.random.split(key, len(shapes)), shapes))


def _affine(layer: Layer, product, weight_std: float, bias_std: float):
    h = weight_std / math.sqrt(math.prod(layer.w.shape[:-1])) * product
    return h if layer.b is None else h + bias_std * layer.b


def _dense(layer: Layer, z, weight_std: float, bias_std: float):
    return _affine(layer, z @ layer.w, weight_std, bias_std)


def _convolve(layer: Layer, z, padding: str, weight_std: float, bias_std: float):
    """One product per row of pixels, with the rows of its window side by side.

    On a CPU, in the loops of training, it is several times faster than XLA's convolution.
    """
    image, filters = (z, layer.w) if z.ndim == 4 else (z[:, :, None], layer.w[:, None])
    n, height, width, _ = image.shape
    tall, wide, _, fan_out = filters.shape
    # Which entry of a filter's row takes a pixel of the input's row to one of the output's row.
    entry = np.arange(width)[:, None] - np.arange(width) + (wide - 1) // 2
    entry = entry % width if padding == "circular" else entry
    taken = jnp.asarray(entry == np.arange(wide)[:, None, None], filters.dtype)
    matrix = jnp.einsum("hwio,wab->haibo", filters, taken).reshape(-1, width * fan_out)
    above_below = [(0, 0), ((tall - 1) // 2, tall // 2), (0, 0)]
    mode = "wrap" if padding == "circular" else "constant"
    rows = jnp.pad(image.reshape(n, height, -1), above_below, mode=mode)
    windows = jnp.concatenate([rows[:, i : i + height] for i in range(tall)], axis=-1)
    return _affine(layer, (windows @ matrix).reshape(*z.shape[:-1], fan_out), weight_std, bias_std)
