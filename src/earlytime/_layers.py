"""Layers in NTK parameterization, which the builders of networks share."""

import math
from typing import NamedTuple

import jax
import numpy as np
from earlytime._arrays import Real
from earlytime._blocks import along
from earlytime._validation import check_choice, check_integer
from jaxtyping import Array, Float, PRNGKeyArray

PADDINGS = ("circular", "zero")


class Layer(NamedTuple):
    """Weights and biases of one layer, as drawn: N(0, 1); b is None where the network has no biases."""

    w: Float[Array, "... fan_in fan_out"]
    b: Float[Array, " fan_out"] | None


def check_readout(num_outputs) -> int | None:
    """`num_outputs` as a number or None; raises unless it is one of them."""
    if num_outputs is None:
        return None
    check_integer("num_outputs", num_outputs, at_least=1)
    return int(num_outputs)


def check_convolution(shape, filter_size, padding) -> tuple[int, ...]:
    """The shape of one input, channels last; raises unless filters of that side fit into it."""
    shape = tuple(shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape: expected (length, channels) or (height, width, channels), got {shape}")
    for side in shape:
        check_integer("shape", side, at_least=1)
    check_integer("filter_size", filter_size, at_least=1, at_most=min(shape[:-1]))
    check_choice("padding", padding, PADDINGS)
    return tuple(int(side) for side in shape)


def as_images(x, shape: tuple[int, ...], *, name: str = "x"):
    """Rows (n, d) in the shape of images; raises unless d fits it."""
    if np.ndim(x) != 2 or np.shape(x)[1] != math.prod(shape):
        raise ValueError(f"{name}: expected shape (n, {math.prod(shape)}), got {np.shape(x)}")
    return x.reshape(np.shape(x)[0], *shape)


def draw(key: PRNGKeyArray, shapes: list[tuple[int, ...]], bias_std: Real) -> tuple[Layer, ...]:
    """A layer of each shape, with biases unless bias_std is 0.

    Random numbers take long to compile. JAX's are those of their places in the array, whatever its size: the largest
    layer's program draws all of them.
    """
    keys = jax.vmap(jax.random.split)(jax.random.split(key, len(shapes)))
    sizes = [math.prod(shape) for shape in shapes]
    numbers = jax.lax.map(lambda key: jax.random.normal(key, (max(sizes),)), keys[:, 0])
    weights = [row[:size].reshape(shape) for row, size, shape in zip(numbers, sizes, shapes)]
    biases = [jax.random.normal(own, shape[-1:]) if bias_std else None for own, shape in zip(keys[:, 1], shapes)]
    return tuple(Layer(w=w, b=b) for w, b in zip(weights, biases))


def affine(layer: Layer, product, weight_std: Real, bias_std: Real):
    """σ_w/√(fan-in) · product + σ_b b."""
    h = weight_std / math.sqrt(math.prod(layer.w.shape[:-1])) * product
    return h if layer.b is None else h + bias_std * along(h, layer.b)


def dense(layer: Layer, z, weight_std: Real, bias_std: Real):
    """A layer whose inputs z: (n, fan_in) are all connected."""
    return affine(layer, z @ layer.w, weight_std, bias_std)
