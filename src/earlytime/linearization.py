r"""The first-order Taylor model of a network, as a network of its own."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from earlytime._networks import applied, partition
from earlytime.networks import Network
from jaxtyping import PRNGKeyArray, PyTree


class LinearizedParams(NamedTuple):
    """Where a network is linearized, and how far from there it is.

    Attributes:
        start: θ₀, the network's parameters, any pytree as in `train`; nothing trains them.
        change: ω, a pytree like start.
    """

    start: PyTree
    change: PyTree

    @classmethod
    def around(cls, params: PyTree) -> "LinearizedParams":
        """θ₀ = params, ω = 0; what is no parameter rides along in both."""
        trained, rest = partition(params)
        return cls(params, rest.join([jnp.zeros_like(leaf) for leaf in trained]))


def linearize(network: Network) -> Network:
    r"""The linear model that a network is around its start.

    $$f^{lin}(x; \theta_0, \omega) = f(x; \theta_0) + \nabla_\theta f(x; \theta_0) \cdot \omega$$

    Linear in ω, not in x. Its gradient with respect to θ₀ is 0, so that any training moves ω alone;
    with the learning rate `LinearizedParams(start=0.0, change=η)` no time is spent on θ₀.

    Source: Lee et al. 2019, section 2.2.

    Args:
        network: any (init, apply).

    Returns:
        Network, whose parameters are `LinearizedParams`: `init(key)` has the network's own draw and
        ω = 0. `LinearizedParams.around(params)` linearizes anywhere else. Equal networks give the same
        object, so that compiled programs are reused.

    Example:
        >>> from earlytime import two_layer
        >>> network = two_layer(3, 8, "erf")
        >>> linear, key, x = linearize(network), jax.random.key(0), jnp.ones((2, 3))
        >>> moved = linear.init(key)._replace(change=network.init(key))
        >>> print(linear.apply(linear.init(key), x), linear.apply(moved, x).shape)
        [0. 0.] (2,)
    """
    return _linearize(Network(*network))


@functools.cache
def _linearize(network: Network) -> Network:
    def init(key: PRNGKeyArray) -> LinearizedParams:
        return LinearizedParams.around(network.init(key))

    def apply(params: LinearizedParams, x):
        start, rest = partition(params.start)
        change = rest.pick(jax.tree.leaves(params.change))
        f = applied(network.apply, rest)
        outputs, tangent = jax.jvp(lambda p: f(p, x), (jax.lax.stop_gradient(start),), (change,))
        return outputs + tangent

    return Network(init, apply)
