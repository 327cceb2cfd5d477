r"""Convolutional and residual networks in NTK parameterization.

Every weight is drawn from N(0, 1) and every layer divides by the square root of its fan-in. The readout
has weights of its own at every position and gives one number per sample, or `num_outputs` of them.
"""

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole
from earlytime._layers import Layer, affine, as_images, check_convolution, check_readout, dense, draw
from earlytime._validation import check_integer, check_scales
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import Network
from jaxtyping import Array, Float, PRNGKeyArray


def convolutional(
    shape: Sequence[int],
    channels: Whole,
    activation: Activation,
    *,
    depth: Whole,
    filter_size: Whole,
    padding: str = "circular",
    weight_std: Real = 1.0,
    bias_std: Real = 0.0,
    num_outputs: Whole | None = None,
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
        >>> import jax
        >>> network = convolutional((8, 8, 3), 16, "erf", depth=2, filter_size=3)
        >>> network.apply(network.init(jax.random.key(0)), jnp.ones((2, 192))).shape
        (2,)
    """
    check_integer("depth", depth, at_least=1)
    shared = shape, channels, activation, filter_size, padding, weight_std, bias_std, num_outputs
    return _convolutional(int(depth), *_checked(*shared))


def _checked(shape, channels, activation, filter_size, padding, weight_std, bias_std, num_outputs) -> tuple:
    """The arguments that both builders take, as what equal networks are found by."""
    shape = check_convolution(shape, filter_size, padding)
    check_integer("channels", channels, at_least=1)
    check_scales(weight_std, bias_std)
    phi, num_outputs = resolve_activation(activation), check_readout(num_outputs)
    return shape, int(channels), phi, int(filter_size), padding, float(weight_std), float(bias_std), num_outputs


@functools.cache
def _convolutional(depth, shape, channels, phi, filter_size, padding, weight_std, bias_std, num_outputs) -> Network:
    sides = (filter_size,) * (len(shape) - 1)
    fans = (shape[-1], *[channels] * depth)
    positions = math.prod(shape[:-1])

    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        filters = [(*sides, fan_in, fan_out) for fan_in, fan_out in zip(fans, fans[1:])]
        return draw(key, [*filters, (positions * channels, num_outputs or 1)], bias_std)

    def apply(params: tuple[Layer, ...], x: Float[AnyArray, "n d"]) -> Float[Array, "n *k"]:
        z = as_images(x, shape)
        for layer in params[:-1]:
            z = phi(_convolve(layer, z, padding, weight_std, bias_std))
        out = dense(params[-1], z.reshape(len(z), math.prod(z.shape[1:])), weight_std, bias_std)
        return out[:, 0] if num_outputs is None else out

    return Network(init, apply)


def residual(
    shape: Sequence[int],
    channels: Whole,
    activation: Activation,
    *,
    num_blocks: Whole,
    filter_size: Whole = 3,
    padding: str = "circular",
    weight_std: Real = 1.0,
    bias_std: Real = 0.0,
    num_outputs: Whole | None = None,
) -> Network:
    r"""A wide residual network: a convolution, then residual blocks, then the readout of φ(z).

    $$z \mapsto z + C_2\,\varphi(C_1\,\varphi(z)) \qquad\text{in every block, with convolutions } C_1, C_2$$

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
        >>> import jax
        >>> network = residual((8, 8, 3), 16, "relu", num_blocks=2)
        >>> network.apply(network.init(jax.random.key(0)), jnp.ones((2, 192))).shape
        (2,)
    """
    check_integer("num_blocks", num_blocks, at_least=1)
    shared = shape, channels, activation, filter_size, padding, weight_std, bias_std, num_outputs
    return _residual(int(num_blocks), *_checked(*shared))


@functools.cache
def _residual(num_blocks, shape, channels, phi, filter_size, padding, weight_std, bias_std, num_outputs) -> Network:
    sides = (filter_size,) * (len(shape) - 1)
    positions = math.prod(shape[:-1])

    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        inside = [(*sides, channels, channels)] * (2 * num_blocks)
        return draw(key, [(*sides, shape[-1], channels), *inside, (positions * channels, num_outputs or 1)], bias_std)

    def apply(params: tuple[Layer, ...], x: Float[AnyArray, "n d"]) -> Float[Array, "n *k"]:
        convolve = lambda layer, z: _convolve(layer, z, padding, weight_std, bias_std)
        z = convolve(params[0], as_images(x, shape))
        for first, second in zip(params[1:-1:2], params[2:-1:2]):
            z = z + convolve(second, phi(convolve(first, phi(z))))
        out = dense(params[-1], phi(z).reshape(len(z), math.prod(z.shape[1:])), weight_std, bias_std)
        return out[:, 0] if num_outputs is None else out

    return Network(init, apply)


def _convolve(layer: Layer, z, padding: str, weight_std: Real, bias_std: Real):
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
    rows = jnp.pad(image.reshape(n, height, math.prod(image.shape[2:])), above_below, mode=mode)
    windows = jnp.concatenate([rows[:, i : i + height] for i in range(tall)], axis=-1)
    return affine(layer, (windows @ matrix).reshape(*z.shape[:-1], fan_out), weight_std, bias_std)
