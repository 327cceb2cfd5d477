r"""Networks whose neurons are the vertices of a directed acyclic graph, in NTK parameterization.

A layer of the graph is all vertices whose longest path from the inputs is equally long. What a vertex is connected to
is a column of booleans, which rides along with the weights: networks of one size share what is compiled, whatever
their graphs.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole
from earlytime._layers import draw
from earlytime._networks import as_samples
from earlytime._validation import check_integer
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import Network
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray


class Vertices(NamedTuple):
    """The weights into one layer, a column for each of its vertices, and which of them are there.

    The rows are the inputs, and then the vertices of all earlier layers.
    """

    w: Float[Array, "earlier size"]
    connected: Bool[Array, "earlier size"]


def directed_acyclic(connected: Sequence[Bool[AnyArray, "_ _"]], activation: Activation) -> Network:
    r"""The network on a directed acyclic graph, whose last vertex is a linear output.

    $$z_v = \frac{1}{\sqrt{|\mathrm{in}(v)|}} \sum_{u \in \mathrm{in}(v)} w_{uv}\, a_u, \qquad
      a_v = \varphi(z_v), \qquad w_{uv} \sim N(0, 1)$$

    Source: Zhu, Liu & Belkin 2022.

    Args:
        connected: for every layer who is connected to whom, as `layers` or `random_parents` say: the rows of the
            first are the inputs, each later layer has those rows and one for every vertex before it. The last layer
            is the output alone.
        activation: a name or a function.

    Returns:
        Network: `init(key)` gives a tuple of `Vertices`, `apply(params, x: (n, d)) -> (n,)`.

    Raises:
        ValueError: layers that do not follow on each other, a vertex without parents, several outputs, an unknown
            activation.

    Example:
        >>> network = directed_acyclic(layers([[0, 1], [1, 2], [2, 3]], dim=2), "tanh")  # the last two skip a layer
        >>> params = network.init(jax.random.key(0))
        >>> [vertices.w.shape for vertices in params], network.apply(params, jnp.ones((5, 2))).shape
        ([(2, 1), (3, 1), (4, 1)], (5,))
    """
    connected = tuple(connected)
    if not connected:
        raise ValueError("connected: expected one layer at least")
    rows = np.shape(connected[0])[0]
    for number, layer in enumerate(connected):
        if np.ndim(layer) != 2 or np.shape(layer)[0] != rows:
            raise ValueError(f"connected: expected {rows} rows for layer {number}, got shape {np.shape(layer)}")
        if not isinstance(layer, jax.core.Tracer) and not np.all(np.any(layer, axis=0)):
            raise ValueError(f"connected: expected a parent for every vertex, layer {number} has one without")
        rows += np.shape(layer)[1]
    if np.shape(connected[-1])[1] != 1:
        raise ValueError(f"connected: expected one output, got {np.shape(connected[-1])[1]}")

    def init(key: PRNGKeyArray) -> tuple[Vertices, ...]:
        drawn = draw(key, [np.shape(layer) for layer in connected], bias_std=0.0)
        return tuple(Vertices(layer.w, jnp.asarray(own, bool)) for layer, own in zip(drawn, connected))

    return Network(init, _apply(resolve_activation(activation)))


@functools.cache
def _apply(phi: Callable) -> Callable:
    def apply(params: tuple[Vertices, ...], x: Float[AnyArray, "n d"], shifts=None) -> Float[Array, " n"]:
        a = z = x
        for number, (w, connected) in enumerate(params):
            if number:  # the layer before is finished
                hidden = phi(z) if shifts is None else phi(z) + shifts[number - 1]
                a = jnp.concatenate([a, hidden], axis=1)
            degree = connected.sum(axis=0).astype(w.dtype)
            z = a @ jnp.where(connected, w, jnp.zeros_like(w)) / jnp.sqrt(degree)[None]
        return jnp.asarray(z[:, 0])

    return apply


def layers(parents: Sequence[Sequence[int]], *, dim: Whole) -> tuple[Bool[np.ndarray, "_ _"], ...]:
    """The layers of any graph, for `directed_acyclic`.

    Args:
        parents: for each vertex behind the inputs the numbers of its parents. The inputs are the vertices 0 to
            d - 1, `parents[i]` belongs to vertex d + i, in any order; the output is the one that is nobody's parent.
        dim: d, the number of inputs.

    Returns:
        A matrix for each layer, a column for each of its vertices, in the order of their numbers.

    Raises:
        ValueError: a cycle, a vertex without parents, a parent that is not there or named twice, several vertices
            that are nobody's parent, dim below 1.

    Example:
        >>> [layer.astype(int).tolist() for layer in layers([[0, 1], [1, 2]], dim=2)]
        [[[1], [1]], [[0], [1], [1]]]
    """
    check_integer("dim", dim, at_least=1)
    dim, count = int(dim), int(dim) + len(parents)
    for number, own in enumerate(parents, start=dim):
        if not len(own):
            raise ValueError(f"parents: expected a parent for every vertex, {number} has none")
        if len(set(own)) != len(own) or not all(isinstance(u, int | np.integer) and 0 <= u < count for u in own):
            raise ValueError(f"parents: expected different numbers from 0 to {count - 1} for {number}, got {list(own)}")
    depth = dict.fromkeys(range(dim), 0)
    left = dict(enumerate(parents, start=dim))
    while left:
        ready = [number for number, own in left.items() if all(u in depth for u in own)]
        if not ready:
            raise ValueError(f"parents: expected no cycle, and {sorted(left)} wait for each other")
        depth |= {number: 1 + max(depth[u] for u in left[number]) for number in ready}
        left = {number: own for number, own in left.items() if number not in ready}
    ends = set(range(dim, count)) - {u for own in parents for u in own}
    if len(ends) != 1:
        raise ValueError(f"parents: expected one output, nobody's parents are {sorted(ends)}")
    order = sorted(depth, key=lambda number: (depth[number], number))
    place = {number: i for i, number in enumerate(order)}
    matrix = np.zeros((count, count), bool)
    for number, own in enumerate(parents, start=dim):
        matrix[[place[u] for u in own], place[number]] = True
    ends_at = np.cumsum(np.bincount([depth[number] for number in order]))
    return tuple(matrix[:begin, begin:end] for begin, end in zip(ends_at, ends_at[1:]))


def random_parents(
    key: PRNGKeyArray, dim: Whole, widths: Sequence[int], *, in_degree, readout_degree
) -> tuple[Bool[Array, "_ _"], ...]:
    """Layers whose vertices choose their parents among the hidden ones of all earlier layers, for `directed_acyclic`.

    The first layer has all inputs for parents, and nobody else has one.

    Args:
        key: random key.
        dim: d, the number of inputs.
        widths: vertices of each hidden layer.
        in_degree: parents of every vertex of a later hidden layer; a vertex that finds fewer before it takes all.
        readout_degree: parents of the output. Both may be traced.

    Raises:
        ValueError: sizes below 1, or, where they are known, a degree below 1 or above the number of hidden vertices.

    Example:
        >>> graph = random_parents(jax.random.key(0), 3, (8, 8), in_degree=4, readout_degree=16)
        >>> [layer.sum(axis=0)[0].item() for layer in graph]
        [3, 4, 16]
    """
    check_integer("dim", dim, at_least=1)
    widths = tuple(widths)
    for width in widths or (0,):
        check_integer("widths", width, at_least=1)
    for name, degree in (("in_degree", in_degree), ("readout_degree", readout_degree)):
        if not isinstance(degree, jax.core.Tracer):
            check_integer(name, degree, at_least=1, at_most=sum(widths))
    graph = [jnp.ones((dim, widths[0]), bool)]
    before = widths[0]
    for own, width in zip(jax.random.split(key, len(widths)), (*widths[1:], 1)):
        degree = readout_degree if len(graph) == len(widths) else jnp.minimum(in_degree, before)
        scores = jax.random.uniform(own, (before, width))
        least = jnp.sort(scores, axis=0)[before - degree]
        graph.append(jnp.concatenate([jnp.zeros((dim, width), bool), scores >= least[None]]))
        before += width
    return tuple(graph)


def vertex_influence(
    network: Network, params: tuple[Vertices, ...], x_single: Num[AnyArray, " d"]
) -> Float[Array, " hidden"]:
    r"""$|\partial f/\partial a_v|$ of every hidden vertex v: what the output's Hessian is small or large with.

    $$\nabla^2 f = \sum_v \frac{\partial f}{\partial a_v}\, \varphi''(z_v)\, \nabla z_v \nabla z_v^\top + \dots$$

    Source: derived in the book.

    Args:
        network: of `directed_acyclic`.
        params: its parameters.
        x_single: one input.

    Returns:
        (number of hidden vertices,), layer after layer.

    Raises:
        ValueError: an input that is not finite.

    Example:
        >>> network = directed_acyclic(layers([[0], [1]], dim=1), lambda z: z)
        >>> params = network.init(jax.random.key(0))
        >>> bool(vertex_influence(network, params, jnp.ones(1))[0] == jnp.abs(params[1].w[1, 0]))
        True
    """
    x = as_samples("x_single", jnp.asarray(x_single)[None])
    shifts = tuple(jnp.zeros(vertices.w.shape[1:], vertices.w.dtype) for vertices in params[:-1])
    slopes = jax.grad(lambda shifts: network.apply(params, x, tuple(s[None] for s in shifts))[0])(shifts)
    return jnp.abs(jnp.concatenate(slopes))
