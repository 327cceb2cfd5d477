r"""Fully connected networks of any depth, in NTK parameterization.

Every weight is drawn from N(0, 1) and every layer divides by the square root of its fan-in. The
readout gives one number per sample, or `num_outputs` of them.
"""

import functools
from collections.abc import Sequence

from earlytime._arrays import AnyArray, Real, Steps, Whole
from earlytime._layers import Layer as Layer
from earlytime._layers import check_readout, dense, draw
from earlytime._validation import check_integer, check_scales
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import Network
from jaxtyping import Array, Float, PRNGKeyArray


def fully_connected(
    dim: Whole,
    width: Steps,
    activation: Activation,
    *,
    depth: Whole,
    weight_std: Real = 1.0,
    bias_std: Real = 0.0,
    num_outputs: Whole | None = None,
) -> Network:
    r"""A fully connected network with `depth` hidden layers.

    $$h^{l+1} = \frac{\sigma_w}{\sqrt{n_l}}\, W^{l+1} z^l + \sigma_b\, b^{l+1}, \qquad
      z^l = \varphi(h^l), \quad z^0 = x$$

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
        >>> import jax, jax.numpy as jnp
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
    check_scales(weight_std, bias_std)
    num_outputs = check_readout(num_outputs)
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
        return draw(key, list(zip(sizes, sizes[1:])), bias_std)

    def apply(params: tuple[Layer, ...], x: Float[AnyArray, "n dim"]) -> Float[Array, "n *k"]:
        h = dense(params[0], x, weight_std, bias_std)
        for layer in params[1:]:
            h = dense(layer, phi(h), weight_std, bias_std)
        return h[:, 0] if num_outputs is None else h

    return Network(init, apply)
