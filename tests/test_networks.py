import jax
import jax.numpy as jnp
import numpy as np
import pytest

import earlytime as et


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
    params = et.TwoLayerParams(
        w=jnp.arange(12.0).reshape(4, 3) / 7 - 0.5, v=jnp.array([1.0, -2.0, 0.5, 3.0])
    )
    x = np.array([[0.3, -1.0, 2.0], [1.0, 1.0, 1.0]])
    by_hand = [
        sum(float(params.v[r]) * np.tanh(np.asarray(params.w)[r] @ row / np.sqrt(3)) for r in range(4)) / 2
        for row in x
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
    "name, arguments",
    [("dim", (0, 4, "erf")), ("width", (3, 0, "erf")), ("width", (3, 5, "erf")), ("activation", (3, 4, "gelu2"))],
)
def test_bad_arguments_are_named(name, arguments):
    with pytest.raises(ValueError, match=f"^{name}: "):
        et.two_layer(*arguments)
