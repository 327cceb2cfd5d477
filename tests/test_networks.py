import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused


@pytest.mark.parametrize("activation", ["erf", "relu", "softplus", "abs"])
@pytest.mark.parametrize("width", [2, 6, 256, 1030])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_start_is_exactly_zero(activation, width, dtype):
    network = et.two_layer(7, width, activation)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), network.init(jax.random.key(1)))
    x = et.sample_inputs(jax.random.key(2), 33, 7).astype(dtype)
    assert np.all(np.asarray(jax.jit(network.apply)(params, x)) == 0)
    assert np.all(np.asarray(network.apply(params, x)) == 0)


def test_output_is_the_formula():
    network = et.two_layer(3, 4, "tanh")
    params = et.TwoLayerParams(w=jnp.arange(12.0).reshape(4, 3) / 7 - 0.5, v=jnp.array([1.0, -2.0, 0.5, 3.0]))
    x = np.array([[0.3, -1.0, 2.0], [1.0, 1.0, 1.0]])
    by_hand = [
        sum(float(params.v[r]) * np.tanh(np.asarray(params.w)[r] @ row / np.sqrt(3)) for r in range(4)) / 2 for row in x
    ]
    np.testing.assert_allclose(network.apply(params, x), by_hand, rtol=1e-12)


def test_initialization_is_symmetric():
    params = et.two_layer(50, 2000, "erf").init(jax.random.key(0))
    np.testing.assert_array_equal(params.w[:1000], params.w[1000:])
    np.testing.assert_array_equal(params.v[:1000], -params.v[1000:])
    assert set(np.unique(params.v)) == {-1.0, 1.0}
    assert abs(float(params.w.var()) - 1) < 0.02 and abs(float(params.v[:1000].mean())) < 0.1


def test_equal_arguments_give_equal_networks():
    phi = lambda z: z**2
    assert et.two_layer(3, 4, "erf") is et.two_layer(dim=3, width=4, activation="erf")
    assert et.two_layer(3, 4, et.leaky_relu(0.1)) == et.two_layer(3, 4, et.leaky_relu(0.1))
    assert et.two_layer(3, 4, phi) == et.two_layer(3, 4, phi)
    assert et.two_layer(3, 4, "erf") != et.two_layer(3, 4, "tanh")
    assert isinstance(hash(et.two_layer(3, 4, "erf")), int)


@pytest.mark.parametrize(
    "name, psi",
    [("sigmoid", lambda f: 1 / (1 + np.exp(-f))), ("tanh", np.tanh), ("swish", lambda f: f / (1 + np.exp(-f)))],
)
def test_output_nonlinearities_act_on_every_output(name, psi):
    for k in (None, 3):
        network = et.fully_connected(7, 8, "tanh", depth=1, num_outputs=k)
        params, x = network.init(jax.random.key(0)), et.sample_inputs(jax.random.key(2), 5, 7)
        outputs = et.networks.with_output(network, name).apply(params, x)
        np.testing.assert_allclose(outputs, psi(np.asarray(network.apply(params, x))), rtol=1e-12)


def test_softmax_and_one_of_its_coordinates():
    network = et.fully_connected(7, 8, "tanh", depth=1, num_outputs=3)
    params, x = network.init(jax.random.key(0)), et.sample_inputs(jax.random.key(2), 5, 7)
    weights = np.exp(np.asarray(network.apply(params, x)))
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(et.networks.with_output(network, "softmax").apply(params, x), expected, rtol=1e-12)
    for k in range(3):
        one = et.networks.with_output(network, "softmax", coordinate=k)
        np.testing.assert_allclose(one.apply(params, x), expected[:, k], rtol=1e-12)


def test_an_output_of_a_symmetric_network_starts_at_one_value():
    network = et.networks.with_output(et.symmetric(et.fully_connected(7, 8, "tanh", depth=1)), jnp.cos)
    outputs = network.apply(network.init(jax.random.key(0)), et.sample_inputs(jax.random.key(2), 5, 7))
    np.testing.assert_array_equal(outputs, np.ones(5))


def test_equal_outputs_give_equal_networks():
    network = et.two_layer(3, 4, "erf")
    assert et.networks.with_output(network, "swish") is et.networks.with_output(network, jax.nn.swish)
    assert et.networks.with_output(network, "swish") != et.networks.with_output(network, "tanh")
    assert isinstance(hash(et.networks.with_output(network, "swish")), int)


@pytest.mark.parametrize(
    "name, call",
    [
        ("nonlinearity", lambda: et.networks.with_output(et.two_layer(3, 4, "erf"), "gelu2")),
        ("nonlinearity", lambda: et.networks.with_output(et.two_layer(3, 4, "erf"), 2.0)),
        ("coordinate", lambda: et.networks.with_output(et.two_layer(3, 4, "erf"), "tanh", coordinate=-1)),
        ("network", lambda: run(et.networks.with_output(et.two_layer(3, 4, "erf"), "softmax"))),
        ("network", lambda: run(et.networks.with_output(et.two_layer(3, 4, "erf"), "tanh", coordinate=0))),
        (
            "coordinate",
            lambda: run(
                et.networks.with_output(
                    et.fully_connected(3, 4, "erf", depth=1, num_outputs=2), "softmax", coordinate=2
                )
            ),
        ),
    ],
)
def test_bad_outputs_are_named(name, call):
    with refused(name):
        call()


def run(network):
    return network.apply(network.init(jax.random.key(0)), jnp.ones((5, 3)))


@pytest.mark.parametrize(
    "name, arguments",
    [("dim", (0, 4, "erf")), ("width", (3, 0, "erf")), ("width", (3, 5, "erf")), ("activation", (3, 4, "gelu2"))],
)
def test_bad_arguments_are_named(name, arguments):
    with refused(name):
        et.two_layer(*arguments)
