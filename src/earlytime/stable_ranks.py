r"""How many directions the hidden weights of a network really use: their stable rank, and the margins beside it."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole, floating
from earlytime._labels import check_signs
from earlytime._validation import check_even, check_finite, check_integer, check_shape, is_concrete
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import Network, TwoLayerParams, two_layer
from jaxtyping import Array, Float, Num, PRNGKeyArray


def independent_two_layer(dim: Whole, width: Whole, activation: Activation) -> Network:
    r"""The two-layer network with neurons that start independently, w_r ~ N(0, I), and half of the v_r = ±1 each.

    $$f(x; W, v) = \frac{1}{\sqrt m} \sum_{r=1}^m v_r\, \varphi(w_r^\top x / \sqrt d)$$

    The first half of the neurons has v_r = 1. For a start of scale ω multiply w by it:
    `params._replace(w=scale * params.w)`.

    Source: Frei et al. 2023, as we understand it, in NTK parameterization.

    Args:
        dim: d, the number of inputs.
        width: m, the number of hidden neurons; even.
        activation: a name or a function.

    Returns:
        Network(init, apply); equal arguments give the same object. `init(key) -> TwoLayerParams(w: (m, d), v: (m,))`,
        `apply(params, x: (n, d)) -> (n,)`, which is that of `two_layer`.

    Raises:
        ValueError: dim or width below 1, an odd width, an unknown activation.

    Example:
        >>> network = independent_two_layer(3, 4, "relu")
        >>> print(network.init(jax.random.key(0)).v)
        [ 1.  1. -1. -1.]
    """
    check_integer("dim", dim, at_least=1)
    check_even("width", width)
    return _independent_two_layer(int(dim), int(width), resolve_activation(activation))


@functools.cache
def _independent_two_layer(dim: int, width: int, phi: Callable) -> Network:
    def init(key: PRNGKeyArray) -> TwoLayerParams:
        w = jax.random.normal(key, (width * dim,)).reshape(width, dim)  # flat: quicker to compile
        half = jnp.ones(width // 2, w.dtype)
        return TwoLayerParams(w=w, v=jnp.concatenate([half, -half]))

    return Network(init, two_layer(dim, width, phi).apply)


def stable_rank(weights: Num[AnyArray, "width dim"]) -> Float[Array, ""]:
    r"""The stable rank $\|W\|_F^2/\|W\|_2^2$, from 1 to the rank.

    Args:
        weights: W, (m, d), not 0.

    Raises:
        ValueError: no matrix, or where it can be looked at, numbers that are not finite, or all of them 0.

    Example:
        >>> print(stable_rank(jnp.diag(jnp.array([2.0, 1.0, 1.0]))))
        1.5
    """
    _check_weights(weights)
    values = jnp.linalg.svd(floating("weights", weights), compute_uv=False)
    return jnp.sum((values / values[0]) ** 2)


def normalized_margins(
    outputs: Num[AnyArray, " n"], y: Num[AnyArray, " n"], weights: Num[AnyArray, "width dim"]
) -> Float[Array, " n"]:
    r"""The normalized margins $y_i f(x_i)/\|W\|_F$ of a network that is homogeneous of degree 1 in W.

    Args:
        outputs: (n,) f(x_i).
        y: (n,) labels ±1.
        weights: W, (m, d), not 0.

    Raises:
        ValueError: wrong shapes; where they can be looked at, numbers that are not finite, labels that are not ±1, or
            weights all 0.

    Example:
        >>> print(normalized_margins(jnp.array([2.0, -4.0]), jnp.array([1.0, -1.0]), 2 * jnp.eye(1, 3)))
        [1. 2.]
    """
    if np.ndim(outputs) != 1:
        raise ValueError(f"outputs: expected shape (n,), got {np.shape(outputs)}")
    check_finite("outputs", outputs)
    check_shape("y", y, np.shape(outputs))
    check_signs("y", y)
    _check_weights(weights)
    weights = jnp.asarray(floating("weights", weights))
    signed = jnp.asarray(outputs, weights.dtype) * jnp.asarray(y, weights.dtype)
    return signed / jnp.linalg.norm(weights)


def _check_weights(weights) -> None:
    if np.ndim(weights) != 2 or not np.size(weights):
        raise ValueError(f"weights: expected a matrix, got shape {np.shape(weights)}")
    check_finite("weights", weights)
    if is_concrete(weights) and not np.any(np.asarray(weights)):
        raise ValueError("weights: expected a matrix that is not 0, whose direction is unknown")
