r"""Standard parameterization: the scale of a layer in its weights, and not in front of them."""

import functools
import math

import jax
from earlytime._arrays import Real
from earlytime._layers import Layer
from earlytime.networks import Network
from jaxtyping import PRNGKeyArray


def layer_scales(params: tuple[Layer, ...], *, weight_std: Real = 1.0, bias_std: Real = 0.0) -> tuple[Layer, ...]:
    r"""What NTK parameterization multiplies a layer's parameters by: $\sigma_w/\sqrt{\text{fan-in}}$ and $\sigma_b$.

    Args:
        params: of `fully_connected`, `convolutional` or `residual`.
        weight_std, bias_std: σ_w and σ_b of that network.

    Returns:
        A tuple of `Layer`s of numbers, a pytree prefix of params.

    Raises:
        ValueError: a weight_std that is not positive, or a bias_std that is not where there are biases.

    Example:
        >>> from earlytime import fully_connected
        >>> layer_scales(fully_connected(4, 16, "erf", depth=1).init(jax.random.key(0)))
        (Layer(w=0.5, b=None), Layer(w=0.25, b=None))
    """
    for name, value, used in (
        ("weight_std", weight_std, True),
        ("bias_std", bias_std, any(layer.b is not None for layer in params)),
    ):
        if used and not 0 < value < math.inf:
            raise ValueError(f"{name}: expected that of the network, a positive number, got {value}")
    # Layers of numbers, where `Layer(...)` itself wants arrays.
    return tuple(
        Layer._make((weight_std / math.sqrt(math.prod(layer.w.shape[:-1])), None if layer.b is None else bias_std))
        for layer in params
    )


def standard_parameterization(network: Network, *, weight_std: Real = 1.0, bias_std: Real = 0.0) -> Network:
    r"""The same functions with the scale in the weights, $W \sim N(0, \sigma_w^2/\text{fan-in})$.

    $$h^{l+1} = W^{l+1} z^l + b^{l+1}$$

    Gradient descent in it with the learning rates η s², s from `layer_scales`, is gradient descent with
    η in NTK parameterization, step by step. One learning rate for all layers is another algorithm,
    which has a limit of infinite width only if it falls like 1/width.

    Source: Lee et al. 2019, section 2.4 and its appendix on parameterizations.

    Args:
        network: of `fully_connected`, `convolutional` or `residual`, built with this weight_std and bias_std.
        weight_std, bias_std: σ_w and σ_b.

    Returns:
        Network. `init(key)` computes the same function as the network's own.

    Raises:
        ValueError: as `layer_scales`, at once.

    Example:
        >>> from earlytime import fully_connected
        >>> import jax.numpy as jnp
        >>> network, x, key = fully_connected(3, 8, "erf", depth=2), jnp.ones((2, 3)), jax.random.key(0)
        >>> standard = standard_parameterization(network)
        >>> print(jnp.allclose(standard.apply(standard.init(key), x), network.apply(network.init(key), x)))
        True
    """
    params = jax.eval_shape(network.init, jax.random.key(0))
    layer_scales(params, weight_std=weight_std, bias_std=bias_std)
    return _standard_parameterization(Network(*network), float(weight_std), float(bias_std))


@functools.cache
def _standard_parameterization(network: Network, weight_std: Real, bias_std: Real) -> Network:
    def init(key: PRNGKeyArray) -> tuple[Layer, ...]:
        params = network.init(key)
        scales = layer_scales(params, weight_std=weight_std, bias_std=bias_std)
        return jax.tree.map(lambda scale, leaf: scale * leaf, scales, params)

    def apply(params: tuple[Layer, ...], x):
        scales = layer_scales(params, weight_std=weight_std, bias_std=bias_std)
        return network.apply(jax.tree.map(lambda scale, leaf: leaf / scale, scales, params), x)

    return Network(init, apply)
