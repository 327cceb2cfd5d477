r"""The tangent kernel of a two-layer network in closed form, layer by layer."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from earlytime._arrays import AnyArray, floating
from earlytime._blocks import fitting_block, map_blocks, sum_blocks
from earlytime._chunks import Chunks, drawn, first_of, is_chunks
from earlytime._shards import shards_of
from earlytime._validation import check_finite, check_some, check_trained
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import TwoLayerParams
from earlytime.operators import Operator
from jax.tree_util import Partial
from jaxtyping import Num

_NEURON_BLOCK = 4096


def two_layer_kernel(
    params: TwoLayerParams, x: Num[AnyArray, "n dim"] | Chunks, activation: Activation, *, trained: str
) -> Operator:
    r"""The tangent kernel of a two-layer network, layer by layer.

    $$\Theta_1(x, x') = \frac{x^\top x'}{d} \cdot \frac1m \sum_r v_r^2\,
        \varphi'(z_r)\,\varphi'(z'_r),$$

    $$\Theta_2(x, x') = \frac1m \sum_r \varphi(z_r)\,\varphi(z'_r), \qquad
      z_r = w_r^\top x/\sqrt d$$

    Equal to `tangent_kernel` of the same layers; this closed form makes the dense matrix d times
    cheaper than one from Jacobians, for as many neurons as one likes.

    Source: Hu et al. 2020, section 3.

    Args:
        params: of `two_layer`.
        x: (n, d) inputs; those of `devices.shard_samples` stay spread.
        activation: the network's.
        trained: "first", "second" or "both" layers.

    Returns:
        Operator of shape (n, n).

    Raises:
        ValueError: unknown `trained` or activation, inputs that are not finite.
    """
    check_trained(trained)
    check_some("x", x)
    check_finite("x", first_of(x))
    x = x if is_chunks(x) else floating("x", x)
    product, matrix = _two_layer_parts(resolve_activation(activation), trained)
    return Operator(
        Partial(product, params, shards_of(x), x),
        Partial(matrix, params, x),
        (x.shape[0], x.shape[0]),
        cheap_dense=True,
    )


@functools.cache
def _two_layer_parts(phi: Callable, trained: str) -> tuple[Callable, Callable]:
    """The product and the matrix of a two-layer kernel; cached, so that equal kernels compile once."""
    first, second = trained != "second", trained != "first"

    def features(params, x):
        """v φ'(z) / √(md) and φ(z) / √m."""
        width, dim = params.w.shape
        z = x @ params.w.T / math.sqrt(dim)
        phi_z, slope = jax.jvp(phi, (z,), (jnp.ones_like(z),))
        return slope * params.v[None, :] / math.sqrt(width * dim), phi_z / math.sqrt(width)

    def product(params, shards, x, u):
        block_size = fitting_block(functools.partial(features, params), x)

        def pull(block, weights):
            inputs, u_block = block
            slopes, values = features(params, inputs)
            u_block = u_block * weights.astype(u_block.dtype)
            return (u_block[:, None] * slopes).T @ inputs, u_block @ values

        direction_w, direction_v = sum_blocks(pull, (x, u), block_size, shards)

        def push(inputs):
            slopes, values = features(params, inputs)
            from_first = jnp.sum(slopes * (inputs @ direction_w.T), axis=1)
            return float(first) * from_first + float(second) * (values @ direction_v)

        return map_blocks(push, x, block_size, shards)

    def matrix(params, x):
        x = drawn(x)
        width = params.w.shape[0]

        def neurons(block, weights):
            slopes, values = features(block, x)
            # Each block divides by its own number of neurons; the whole divides by all of them.
            share = weights.shape[0] / width
            slopes, values = slopes * weights[None, :], values * weights[None, :]
            return (
                share * (slopes @ slopes.T) if first else 0.0,
                share * (values @ values.T) if second else 0.0,
            )

        slopes, values = sum_blocks(neurons, params, _NEURON_BLOCK)
        return (x @ x.T) * slopes + values

    return product, matrix
