r"""Networks as pairs of pure functions, in NTK parameterization: the two-layer one, and what can be done to any.

`symmetric` lets any network start at exactly 0, `with_output` puts a non-linearity behind its output.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from earlytime._arrays import AnyArray, Whole
from earlytime._networks import applied, partition
from earlytime._validation import check_choice, check_integer
from earlytime.activations import Activation, resolve_activation
from jaxtyping import Array, Float, PRNGKeyArray


class Network(NamedTuple):
    """`init(key) -> params` and `apply(params, x) -> outputs`, both pure."""

    init: Callable
    apply: Callable


class TwoLayerParams(NamedTuple):
    """Hidden weights and readout of a two-layer network; also its learning rates, layer by layer."""

    w: Float[Array, "width dim"]
    v: Float[Array, " width"]


def two_layer(dim: Whole, width: Whole, activation: Activation) -> Network:
    r"""The two-layer network of Hu et al. 2020 with symmetric initialization.

    $$f(x; W, v) = \frac{1}{\sqrt m} \sum_{r=1}^m v_r\, \varphi(w_r^\top x / \sqrt d)$$

    For r <= m/2, w_r ~ N(0, I) and v_r = ±1; neuron r + m/2 has the same w and the opposite v.
    The output is then exactly 0 at the start, while the tangent kernel is that of m/2
    independent random neurons.

    Source: Hu et al. 2020, section 3.

    Args:
        dim: d, the number of inputs.
        width: m, the number of hidden neurons; even.
        activation: a name or a function.

    Returns:
        Network(init, apply); equal arguments give the same object, so compiled programs are
        reused. `init(key) -> TwoLayerParams(w: (m, d), v: (m,))`, `apply(params, x: (n, d)) -> (n,)`.

    Raises:
        ValueError: dim or width below 1, an odd width, an unknown activation.

    Example:
        >>> network = two_layer(3, 8, "erf")
        >>> params = network.init(jax.random.key(0))
        >>> print(network.apply(params, jnp.ones((2, 3))))
        [0. 0.]
    """
    check_integer("dim", dim, at_least=1)
    check_integer("width", width, at_least=1)
    if width % 2:
        raise ValueError(f"width: expected an even number (symmetric initialization), got {width}")
    return _two_layer(int(dim), int(width), resolve_activation(activation))


@functools.cache
def _two_layer(dim: int, width: int, phi: Callable) -> Network:
    def init(key: PRNGKeyArray) -> TwoLayerParams:
        key_w, key_v = jax.random.split(key)
        w = jax.random.normal(key_w, (width // 2 * dim,)).reshape(width // 2, dim)  # flat: quicker to compile
        v = jax.random.rademacher(key_v, (width // 2,), dtype=w.dtype)
        return TwoLayerParams(w=jnp.concatenate([w, w]), v=jnp.concatenate([v, -v]))

    def apply(params: TwoLayerParams, x: Float[AnyArray, "n dim"]) -> Float[Array, " n"]:
        # At the start each neuron meets its opposite before anything is rounded (v is ±1), so that
        # the output is 0 to the last bit, in whatever order the rest is added up. Neurons come first:
        # on a CPU a step then takes a fifth less time than with samples first.
        first, second = (
            phi((w / math.sqrt(dim)) @ x.T) * v[:, None] for w, v in zip(jnp.split(params.w, 2), jnp.split(params.v, 2))
        )
        return jnp.sum(first + second, axis=0) / math.sqrt(width)

    return Network(init, apply)


def symmetric(network: Network) -> Network:
    r"""Two copies of a network that start equal and are subtracted, so that the output starts at exactly 0.

    $$f(x; \theta^+, \theta^-) = \frac{1}{\sqrt 2}\big(g(x; \theta^+) - g(x; \theta^-)\big), \qquad
      \theta^+ = \theta^-$$

    The tangent kernel at the start is that of one copy. `two_layer` has this built in.

    Source: Hu et al. 2020, section 3, for two layers; Chizat et al. 2019 for any model.

    Args:
        network: any (init, apply).

    Returns:
        Network, whose parameters are those of `network` with a first axis of 2; what is no parameter rides along.

    Example:
        >>> from earlytime import fully_connected
        >>> network = symmetric(fully_connected(3, 8, "tanh", depth=2))
        >>> print(network.apply(network.init(jax.random.key(0)), jnp.ones((2, 3))))
        [0. 0.]
    """
    return _symmetric(network)


@functools.cache
def _symmetric(network: Network) -> Network:
    def init(key: PRNGKeyArray):
        trained, rest = partition(network.init(key))
        return rest.join([jnp.stack([leaf, leaf]) for leaf in trained])

    def apply(params, x):
        # One after the other in a loop: the same program, so that equal copies give equal bits.
        trained, rest = partition(params)
        outputs = jax.lax.map(lambda copy: applied(network.apply, rest)(copy, x), trained)
        return (outputs[0] - outputs[1]) / math.sqrt(2)

    return Network(init, apply)


OUTPUTS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "swish": jax.nn.swish,
    "softmax": jax.nn.softmax,
}


def with_output(network: Network, nonlinearity: str | Callable, *, coordinate: Whole | None = None) -> Network:
    r"""A network with a non-linearity behind its output, $\tilde f = \psi(f)$.

    However wide the network, $\nabla^2\tilde f = \psi'(f)\,\nabla^2 f + \psi''(f)\,\nabla f\,\nabla f^\top$
    keeps the second term: such a network does not become linear.

    Source: Liu et al. 2020, section 4.

    Args:
        network: any (init, apply).
        nonlinearity: ψ, "sigmoid", "tanh", "swish" or "softmax", or a function of the outputs. Softmax
            takes a network with k outputs, built with `num_outputs=k`.
        coordinate: give this one of the k outputs alone, so that the output is one number per sample.

    Returns:
        Network, with the parameters of `network`.

    Raises:
        ValueError: an unknown non-linearity; and from `apply`, softmax or a coordinate of a network that has
            no k outputs.

    Example:
        >>> from earlytime import fully_connected
        >>> network = with_output(fully_connected(3, 8, "tanh", depth=2, num_outputs=2), "softmax")
        >>> print(jnp.sum(network.apply(network.init(jax.random.key(0)), jnp.ones((1, 3)))))
        1.0
    """
    if not callable(nonlinearity):
        check_choice("nonlinearity", nonlinearity, OUTPUTS)
    if coordinate is not None:
        check_integer("coordinate", coordinate, at_least=0)
    psi = OUTPUTS[nonlinearity] if isinstance(nonlinearity, str) else nonlinearity
    return _with_output(network, psi, None if coordinate is None else int(coordinate))


@functools.cache
def _with_output(network: Network, psi: Callable, coordinate: int | None) -> Network:
    def apply(params, x):
        outputs = network.apply(params, x)
        if outputs.ndim != 2 and (psi is OUTPUTS["softmax"] or coordinate is not None):
            raise ValueError(f"network: expected k outputs per sample (num_outputs=k), got shape {outputs.shape}")
        if coordinate is not None and coordinate >= outputs.shape[1]:
            raise ValueError(f"coordinate: expected one below {outputs.shape[1]}, got {coordinate}")
        outputs = psi(outputs)
        return outputs if coordinate is None else outputs[:, coordinate]

    return Network(network.init, apply)
