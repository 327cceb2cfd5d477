"""Networks on graphs, against loops over vertices in NumPy and against the networks that they contain."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.graph_networks import directed_acyclic, layers, random_parents, vertex_influence
from refusals import refused

# Vertex 6 is the output; 2 to 5 are hidden, 5 waits for 3 and 4, and edges skip layers.
PARENTS = [[0, 1], [1, 2], [0, 2, 3], [1, 4, 3], [2, 4, 5]]
DIM = 2


def by_vertex(params, x, phi, parents=PARENTS, dim=DIM, changed=None):
    """f(x) vertex by vertex; `changed` adds a number to what a vertex puts out."""
    graph = layers(parents, dim=dim)
    depth = lambda number: 0 if number < dim else 1 + max(map(depth, parents[number - dim]))
    # of the rows: the vertices layer after layer
    numbers = sorted(range(dim + len(parents)), key=lambda number: (depth(number), number))
    weight = {}
    for start, (w, connected) in zip(np.cumsum([dim, *(layer.shape[1] for layer in graph)]), params):
        for row, column in zip(*np.nonzero(np.asarray(connected))):
            weight[numbers[row], numbers[start + column]] = float(w[row, column])
    value = dict(enumerate(np.asarray(x)))
    for number in numbers[dim:]:
        own = parents[number - dim]
        z = sum(weight[u, number] * value[u] for u in own) / np.sqrt(len(own))
        value[number] = z if number == dim + len(parents) - 1 else float(phi(z)) + (changed or {}).get(number, 0.0)
    return value[number]


def explicit():
    network = directed_acyclic(layers(PARENTS, dim=DIM), "tanh")
    return network, network.init(jax.random.key(1))


def test_it_is_the_sum_over_every_vertex():
    network, params = explicit()
    x = np.random.default_rng(0).normal(size=(4, DIM))
    expected = [by_vertex(params, each, np.tanh) for each in x]
    np.testing.assert_allclose(network.apply(params, jnp.asarray(x)), expected, rtol=1e-12)


def test_the_order_of_the_vertices_plays_no_part():
    renamed = {0: 0, 1: 1, 2: 5, 3: 4, 4: 3, 5: 2, 6: 6}
    parents = [[]] * len(PARENTS)
    for number, own in enumerate(PARENTS, start=DIM):
        parents[renamed[number] - DIM] = [renamed[u] for u in own]
    for ours, theirs in zip(layers(PARENTS, dim=DIM), layers(parents, dim=DIM)):
        np.testing.assert_array_equal(np.sort(ours.sum(axis=0)), np.sort(theirs.sum(axis=0)))
    network = directed_acyclic(layers(parents, dim=DIM), "tanh")
    params, x = network.init(jax.random.key(1)), np.array([[0.3, -0.8]])
    np.testing.assert_allclose(network.apply(params, x), [by_vertex(params, x[0], np.tanh, parents=parents)])


def test_with_all_edges_between_neighbours_it_is_a_fully_connected_network():
    sizes = (3, 5, 4, 1)
    rows = np.cumsum(sizes)
    graph = [np.zeros((before, size), bool) for before, size in zip(rows, sizes[1:])]
    for layer, size in zip(graph, sizes):
        layer[-size:] = True
    network = directed_acyclic(graph, "erf")
    params = network.init(jax.random.key(0))
    deep = et.fully_connected(3, sizes[1:3], "erf", depth=2)
    same = tuple(et.deep_networks.Layer(vertices.w[-size:], None) for vertices, size in zip(params, sizes))
    x = et.sample_inputs(jax.random.key(1), 6, 3)
    np.testing.assert_allclose(network.apply(params, x), deep.apply(same, x), rtol=1e-12)


def test_influence_is_what_a_change_of_a_vertex_does():
    network, params = explicit()
    x, h = np.array([0.7, -1.1]), 1e-6
    expected = [
        abs(by_vertex(params, x, np.tanh, changed={v: h}) - by_vertex(params, x, np.tanh, changed={v: -h})) / (2 * h)
        for v in range(2, 6)
    ]
    np.testing.assert_allclose(vertex_influence(network, params, jnp.asarray(x)), expected, rtol=1e-8)


def test_random_parents_are_as_many_as_asked_for_and_differ():
    graph = random_parents(jax.random.key(0), 3, (6, 6, 6), in_degree=8, readout_degree=5)
    assert [layer.shape for layer in graph] == [(3, 6), (9, 6), (15, 6), (21, 1)]
    assert [layer.sum(axis=0).tolist() for layer in graph] == [[3] * 6, [6] * 6, [8] * 6, [5]]
    assert not any(layer[:3].any() for layer in graph[1:])
    graph_of_any_widths = random_parents(jax.random.key(0), 3, (4, 6, 2), in_degree=3, readout_degree=5)
    assert [layer.shape for layer in graph_of_any_widths] == [(3, 4), (7, 6), (13, 2), (15, 1)]
    with refused("widths"):
        random_parents(jax.random.key(0), 3, (), in_degree=3, readout_degree=5)
    columns = {tuple(column) for column in np.asarray(graph[2]).T}
    assert len(columns) == 6
    other = random_parents(jax.random.key(1), 3, (6, 6, 6), in_degree=8, readout_degree=5)
    assert (other[2] != graph[2]).any()


def test_every_parent_is_equally_likely():
    keys = jax.random.split(jax.random.key(0), 400)
    draw = lambda key: random_parents(key, 1, (4, 4), in_degree=1, readout_degree=3)
    _, hidden, readout = jax.vmap(draw)(keys)
    np.testing.assert_allclose(hidden[:, 1:].mean(axis=(0, 2)), 1 / 4, atol=0.04)
    np.testing.assert_allclose(readout[:, 1:, 0].mean(axis=0), 3 / 8, atol=0.08)


def test_degrees_may_be_traced_and_share_a_program():
    draw = jax.jit(lambda key, k: random_parents(key, 2, (5, 5), in_degree=k, readout_degree=2 * k))
    for k in (1, 3):
        asked = random_parents(jax.random.key(0), 2, (5, 5), in_degree=k, readout_degree=2 * k)
        for traced, plain in zip(draw(jax.random.key(0), k), asked):
            np.testing.assert_array_equal(traced, plain)


def test_only_weights_that_are_there_have_derivatives():
    network, params = explicit()
    hessian = et.curvature.output_hessian(network.apply, params, jnp.array([0.3, 0.4])).dense()
    there = np.concatenate([np.ravel(vertices.connected) for vertices in params])
    assert np.all(hessian[~there] == 0) and np.all(np.any(hessian[there] != 0, axis=1))


@pytest.mark.parametrize(
    "parents, saying",
    [
        ([[0], [3], [2]], "cycle"),
        ([[0], [1], [4, 2]], "cycle"),
        ([[0], []], "parent for every vertex, 3 has none"),
        ([[0], [1, 9]], "different numbers"),
        ([[0], [1, 1]], "different numbers"),
        ([[0], [1, -1]], "different numbers"),
        ([[0], [1, 4]], "different numbers"),
        ([[0], [1.5]], "different numbers"),
        ([[0], [1]], "one output"),
    ],
)
def test_graphs_that_are_none_are_refused(parents, saying):
    with refused("parents", saying=saying):
        layers(parents, dim=2)


def test_bad_arguments_are_named():
    graph = layers(PARENTS, dim=DIM)
    with refused("activation"):
        directed_acyclic(graph, "tan")
    with refused("connected"):
        directed_acyclic([], "tanh")
    with refused("connected", saying="rows"):
        directed_acyclic([graph[0], graph[0]], "tanh")
    with refused("connected", saying="rows"):
        directed_acyclic([np.ones(2, bool)], "tanh")
    with refused("connected", saying="without"):
        directed_acyclic([np.array([[True, False], [True, False]]), np.ones((4, 1), bool)], "tanh")
    with refused("connected", saying="one output"):
        directed_acyclic([np.ones((2, 3), bool)], "tanh")
    with refused("dim"):
        layers(PARENTS, dim=0)
    with refused("x_single"):
        vertex_influence(*explicit(), jnp.array([1.0, jnp.nan]))
    key = jax.random.key(0)
    for name, given in {
        "dim": {"dim": 0},
        "widths": {"widths": (4, 0)},
        "in_degree": {"in_degree": 9},
        "readout_degree": {"readout_degree": 0},
    }.items():
        with refused(name):
            random_parents(key, **({"dim": 2, "widths": (4, 4), "in_degree": 2, "readout_degree": 2} | given))
