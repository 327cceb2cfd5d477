r"""Networks assembled of many weak models: a sum of copies, each with parameters of its own.

A wide network is the case where the copies are single neurons.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole
from earlytime._networks import partition
from earlytime._validation import check_finite, check_integer, check_known, check_positive
from earlytime.activations import Activation, resolve_activation
from earlytime.curvature import output_hessian
from earlytime.networks import Network
from jaxtyping import Array, Float, Num, PRNGKeyArray, PyTree

# Hessians of models that are in memory at once.
_AT_ONCE = 1024


class AssembledParams(NamedTuple):
    """The parameters of the models, each leaf with a first axis for them, and the weights of their sum."""

    models: PyTree
    v: Float[Array, " count"]


def neuron(dim: Whole, activation: Activation) -> Network:
    r"""The weakest model, one neuron: $g(x; w) = \varphi(w^\top x/\sqrt d)$ with $w \sim N(0, I)$.

    Args:
        dim: d, the number of inputs.
        activation: a name or a function.

    Returns:
        Network, whose parameters are w: (d,). Equal arguments give the same object.

    Raises:
        ValueError: dim below 1, an unknown activation.

    Example:
        >>> network = neuron(4, "tanh")
        >>> print(network.apply(jnp.zeros(4), jnp.ones((2, 4))))
        [0. 0.]
    """
    check_integer("dim", dim, at_least=1)
    return _neuron(int(dim), resolve_activation(activation))


@functools.cache
def _neuron(dim: int, phi: Callable) -> Network:
    init = lambda key: jax.random.normal(key, (dim,))
    return Network(init, lambda w, x: phi(x @ w / math.sqrt(dim)))


def assemble(network: Network, count: Whole, scale: Real) -> Network:
    r"""A sum of weak models, each with parameters of its own.

    $$f(x) = \frac1s \sum_{i=1}^m v_i\, g(x; w_i), \qquad v_i = \pm1$$

    With `neuron` and $s = \sqrt m$ it is a two-layer network. The $v_i$ are parameters, too: to hold them fixed in
    training, give them the learning rate 0, `AssembledParams(models=rate, v=0.0)`.

    Source: Liu et al. 2022, as we understand it.

    Args:
        network: g, any (init, apply) with outputs (n,) or (n, k), and with real parameters only.
        count: m, how many models.
        scale: s, what their sum is divided by.

    Returns:
        Network with the outputs of g. `init(key)` gives `AssembledParams`: models as of m keys, v of random signs.
        Equal arguments give the same object.

    Raises:
        ValueError: a count below 1, a scale that is not positive and known.

    Example:
        >>> network = assemble(neuron(3, "erf"), 16, scale=4.0)
        >>> params = network.init(jax.random.key(0))
        >>> params.models.shape, params.v.shape, network.apply(params, jnp.ones((2, 3))).shape
        ((16, 3), (16,), (2,))
    """
    check_integer("count", count, at_least=1)
    check_known("scale", scale)
    check_positive("scale", scale)
    return _assemble(network, int(count), float(scale))


@functools.cache
def _assemble(network: Network, count: int, scale: float) -> Network:
    def init(key: PRNGKeyArray) -> AssembledParams:
        key_models, key_v = jax.random.split(key)
        models = jax.vmap(network.init)(jax.random.split(key_models, count))
        v = jax.random.rademacher(key_v, (count,), dtype=jnp.result_type(*jax.tree.leaves(models)))
        return AssembledParams(models, v)

    def apply(params: AssembledParams, x):
        outputs = jax.vmap(network.apply, (0, None))(params.models, x)
        return jnp.tensordot(params.v, outputs, 1) / scale

    return Network(init, apply)


def model_hessian_norms(network: Network, models: PyTree, x_single: Num[AnyArray, " *d"]) -> Float[Array, " count"]:
    r"""The Hessian norm of every weak model, $\|\nabla_w^2 g(w_i; x)\|$.

    Models with parameters of their own share no second derivative, so the Hessian of their sum in all of these
    parameters, with the $v_i$ held fixed, has one block per model, and

    $$\|H\| = \frac1s \max_i |v_i|\, \|\nabla_w^2 g(w_i; x)\| .$$

    From dense Hessians, a thousand models at a time: for models of few parameters.

    Args:
        network: g, with one output.
        models: parameters of m models, each leaf with a first axis of m, as in `AssembledParams`.
        x_single: one input, without an axis of samples.

    Returns:
        (m,) norms.

    Raises:
        ValueError: as `output_hessian`; leaves without a first axis of m.

    Example:
        >>> square = Network(init=None, apply=lambda w, x: x @ w**2)
        >>> print(model_hessian_norms(square, jnp.ones((3, 2)), jnp.array([1.0, 4.0])))
        [8. 8. 8.]
    """
    check_finite("x_single", x_single)
    partition(models, name="models")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(models)]
    if () in shapes or len({shape[0] for shape in shapes}) > 1 or shapes[0][0] < 1:
        raise ValueError(f"models: expected leaves with one first axis, that of the models, got shapes {shapes}")

    def norm(model):
        hessian = output_hessian(network.apply, model, x_single).dense()
        return jnp.max(jnp.abs(jnp.linalg.eigvalsh(hessian)))

    return jax.lax.map(norm, models, batch_size=min(_AT_ONCE, shapes[0][0]))
