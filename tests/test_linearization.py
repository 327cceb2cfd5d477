import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest

X = np.asarray(et.sample_inputs(jax.random.key(0), 6, 4))
NETWORKS = {
    "fully connected": et.fully_connected(4, 8, "tanh", depth=2, bias_std=0.3),
    "k outputs": et.fully_connected(4, 8, "erf", depth=1, num_outputs=3),
    "convolutional": et.convolutional((2, 2, 1), 4, "relu", depth=1, filter_size=1),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_it_is_the_first_order_taylor_model(network):
    linear = et.linearize(network)
    start, direction = network.init(jax.random.key(1)), network.init(jax.random.key(2))
    f0 = network.apply(start, X)
    np.testing.assert_allclose(linear.apply(et.linearization.LinearizedParams.around(start), X), f0, rtol=1e-12)
    errors, changes = [], []
    for size in (1e-2, 1e-3):
        change = jax.tree.map(lambda leaf: size * leaf, direction)
        there = jax.tree.map(jnp.add, start, change)
        model = linear.apply(et.linearization.LinearizedParams(start, change), X)
        errors.append(np.abs(network.apply(there, X) - model).max())
        changes.append(np.abs(model - f0).max())
    assert errors[0] < 0.1 * changes[0]
    assert errors[1] < 0.02 * errors[0]  # second order: 0.01
    np.testing.assert_allclose(changes[1], 0.1 * changes[0], rtol=1e-9)


def test_its_kernel_is_that_of_the_network_at_the_start():
    network = NETWORKS["k outputs"]
    params = network.init(jax.random.key(1))
    there = et.linearization.LinearizedParams(params, network.init(jax.random.key(2)))
    expected = et.tangent_kernel(network.apply, params, X).dense()
    assert expected.shape == (18, 18)
    np.testing.assert_allclose(et.tangent_kernel(et.linearize(network).apply, there, X).dense(), expected, rtol=1e-10)


def test_training_moves_the_change_alone():
    network = NETWORKS["fully connected"]
    linear, start = et.linearize(network), network.init(jax.random.key(1))
    options = {"num_steps": 5, "record_steps": (0, 5)}
    first = et.train(
        linear.apply,
        et.linearization.LinearizedParams.around(start),
        X,
        jnp.ones(6),
        learning_rate=et.linearization.LinearizedParams(start=0.0, change=0.3),
        **options,
    )
    second = et.train(
        linear.apply, et.linearization.LinearizedParams.around(start), X, jnp.ones(6), learning_rate=0.3, **options
    )
    for run in (first, second):
        jax.tree.map(np.testing.assert_array_equal, run.params.start, start)
    np.testing.assert_allclose(first.train_outputs, second.train_outputs, rtol=1e-12)
    assert first.train_loss[1] < first.train_loss[0]


def test_equal_networks_give_one_object():
    assert et.linearize(et.two_layer(2, 4, "erf")) is et.linearize(et.two_layer(2, 4, "erf"))


@pytest.mark.parametrize("network", [NETWORKS["k outputs"]], ids=["k outputs"])
def test_tangent_kernel_by_columns(network):
    """Products against the matrix, and the matrix against the Jacobian of all outputs at once."""
    params, x2 = network.init(jax.random.key(0)), X[:4] * 0.7
    operator = et.tangent_kernel(network.apply, params, X, x2)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    jacobian = lambda x: jax.jacobian(lambda p: network.apply(unravel(p), x).reshape(-1))(flat)
    np.testing.assert_allclose(operator.dense(), jacobian(X) @ jacobian(x2).T, rtol=1e-9, atol=1e-12)
    u = np.arange(operator.shape[1], dtype=float)
    np.testing.assert_allclose(operator.matvec(u), operator.dense() @ u, rtol=1e-9)
