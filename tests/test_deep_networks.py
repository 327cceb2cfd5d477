import itertools

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime._layers import as_images
from refusals import refused

BUILDERS = {
    "fully connected": lambda **o: et.fully_connected(12, 8, "tanh", depth=3, **o),
    "convolutional, 1-D": lambda **o: et.convolutional((6, 2), 4, "tanh", depth=2, filter_size=4, **o),
    "convolutional, 2-D": lambda **o: et.convolutional((3, 4, 1), 4, "tanh", depth=2, filter_size=3, **o),
    "residual": lambda **o: et.residual((3, 4, 1), 4, "tanh", num_blocks=2, **o),
}
every_network = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def inputs(n=5, dim=12):
    return et.sample_inputs(jax.random.key(7), n, dim)


def test_fully_connected_is_the_formula():
    network = et.fully_connected(12, 8, "tanh", depth=2, weight_std=1.3, bias_std=0.5)
    params, x = network.init(jax.random.key(0)), inputs()
    z = np.asarray(x)
    for layer in params[:-1]:
        z = np.tanh(1.3 / np.sqrt(z.shape[1]) * z @ np.asarray(layer.w) + 0.5 * np.asarray(layer.b))
    expected = 1.3 / np.sqrt(8) * z @ np.asarray(params[-1].w)[:, 0] + 0.5 * float(params[-1].b[0])
    np.testing.assert_allclose(network.apply(params, x), expected, rtol=1e-12)
    assert [layer.w.shape for layer in params] == [(12, 8), (8, 8), (8, 1)]


def test_a_width_of_every_layer():
    network = et.fully_connected(12, (8, 2, 6), "tanh", depth=3)
    params = network.init(jax.random.key(0))
    assert [layer.w.shape for layer in params] == [(12, 8), (8, 2), (2, 6), (6, 1)]
    assert network.apply(params, inputs()).shape == (5,)
    assert et.fully_connected(12, [8, 8], "tanh", depth=2) is et.fully_connected(12, 8, "tanh", depth=2)


def windows(image, filters, padding):
    """The sum over a window, entry by entry."""
    shape, q = image.shape[1:], filters.shape[0]
    hidden = np.zeros((*image.shape[:-1], filters.shape[-1]))
    space = [range(side) for side in shape[:-1]]
    for place, offset in itertools.product(itertools.product(*space), np.ndindex(*filters.shape[:-2])):
        at = [p + o - (q - 1) // 2 for p, o in zip(place, offset)]
        if padding == "zero" and any(not 0 <= a < side for a, side in zip(at, shape)):
            continue
        at = tuple(a % side for a, side in zip(at, shape))
        hidden[(slice(None), *place)] += image[(slice(None), *at)] @ filters[offset]
    return hidden / np.sqrt(np.prod(filters.shape[:-1]))


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("shape, q", [((6, 2), 3), ((6, 2), 4), ((3, 4, 1), 2), ((3, 4, 1), 3)])
def test_convolution_is_the_sum_over_a_window(shape, q, padding):
    network = et.convolutional(shape, 3, "erf", depth=1, filter_size=q, padding=padding)
    params, x = network.init(jax.random.key(0)), inputs()
    hidden = windows(np.asarray(x).reshape(-1, *shape), np.asarray(params[0].w), padding)
    flat = np.asarray(jax.scipy.special.erf(hidden)).reshape(len(x), -1)
    expected = flat @ np.asarray(params[1].w)[:, 0] / np.sqrt(flat.shape[1])
    np.testing.assert_allclose(network.apply(params, x), expected, rtol=1e-10)


def test_residual_blocks_add():
    """With the second convolution of every block at 0 nothing is added: the blocks are the identity."""
    network = et.residual((3, 4, 1), 4, "tanh", num_blocks=2, filter_size=3)
    plain = et.convolutional((3, 4, 1), 4, "tanh", depth=1, filter_size=3)
    params = list(network.init(jax.random.key(0)))
    for second in (2, 4):
        params[second] = params[second]._replace(w=0 * params[second].w)
    np.testing.assert_allclose(
        network.apply(tuple(params), inputs()), plain.apply((params[0], params[-1]), inputs()), rtol=1e-12
    )
    ones = [p._replace(w=p.w if i in (0, 5) else 0.5 + 0 * p.w) for i, p in enumerate(params)]
    assert not np.allclose(network.apply(tuple(ones), inputs()), plain.apply((ones[0], ones[-1]), inputs()))


def test_a_residual_network_is_its_formula():
    network = et.residual((3, 4, 1), 4, "tanh", num_blocks=3, filter_size=3, weight_std=1.3, bias_std=0.5)
    params, x = network.init(jax.random.key(0)), inputs()
    layers = [(np.asarray(layer.w), np.asarray(layer.b)) for layer in params]
    convolve = lambda layer, z: 1.3 * windows(z, layer[0], "circular") + 0.5 * layer[1]
    z = convolve(layers[0], np.asarray(x).reshape(-1, 3, 4, 1))
    for first, second in zip(layers[1:7:2], layers[2:7:2]):
        z = z + convolve(second, np.tanh(convolve(first, np.tanh(z))))
    w, b = layers[7]
    expected = 1.3 / np.sqrt(48) * np.tanh(z).reshape(len(z), -1) @ w + 0.5 * b
    np.testing.assert_allclose(network.apply(params, x), expected[:, 0], rtol=1e-10)


@every_network
def test_outputs_of_their_own(build):
    """Every output has weights of its own over the same hidden layers, and one of them is the default."""
    network, x = build(num_outputs=3, bias_std=0.5), inputs()
    params = network.init(jax.random.key(0))
    outputs = network.apply(params, x)
    assert outputs.shape == (5, 3)
    for k in range(3):
        readout = jax.tree.map(lambda leaf: leaf[..., k : k + 1], params[-1])
        alone = build(bias_std=0.5).apply((*params[:-1], readout), x)
        np.testing.assert_allclose(outputs[:, k], alone, rtol=1e-12)
    one, default = build(num_outputs=1), build()
    assert one.apply(one.init(jax.random.key(0)), x).shape == (5, 1)
    np.testing.assert_array_equal(
        one.apply(one.init(jax.random.key(0)), x)[:, 0], default.apply(default.init(jax.random.key(0)), x)
    )
    start = et.symmetric(network)
    np.testing.assert_array_equal(start.apply(start.init(jax.random.key(0)), x), np.zeros((5, 3)))


@every_network
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_symmetric_start_is_exactly_zero(build, dtype):
    network = et.symmetric(build(bias_std=0.3))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), network.init(jax.random.key(1)))
    x = inputs(33).astype(dtype)
    assert np.all(np.asarray(jax.jit(network.apply)(params, x)) == 0)
    assert np.all(np.asarray(network.apply(params, x)) == 0)


@every_network
def test_a_symmetric_start_keeps_the_tangent_kernel(build):
    network = build()
    one, two = network.init(jax.random.key(1)), et.symmetric(network).init(jax.random.key(1))
    np.testing.assert_allclose(
        et.tangent_kernel(et.symmetric(network).apply, two, inputs()).dense(),
        et.tangent_kernel(network.apply, one, inputs()).dense(),
        rtol=1e-10,
    )


@every_network
def test_training_starts_at_zero_and_learns(build):
    network, x = et.symmetric(build()), inputs(8)
    y = jnp.sign(x[:, 0])
    run = et.train(
        network.apply, network.init(jax.random.key(0)), x, y, learning_rate=0.5, num_steps=40, record_steps=(0, 40)
    )
    assert np.all(np.asarray(run.train_outputs[0]) == 0)
    assert run.train_loss[1] < 0.5 * run.train_loss[0]


@pytest.mark.parametrize(
    "activation, depth, bias_std", [pytest.param("erf", 3, 0.0, marks=pytest.mark.slow), ("softplus", 2, 0.4)]
)
def test_wide_networks_have_the_infinite_kernel(activation, depth, bias_std):
    """The tangent kernel of finite networks, averaged, is that of `deep_kernel`."""
    network = et.fully_connected(12, 300, activation, depth=depth, weight_std=1.2, bias_std=bias_std)
    x = inputs(4)
    kernel = lambda key: et.tangent_kernel(network.apply, network.init(key), x).dense()
    samples = jax.lax.map(kernel, jax.random.split(jax.random.key(3), 60))
    lengths = jnp.linalg.norm(x, axis=1) / np.sqrt(12)
    cosine = x @ x.T / 12 / jnp.outer(lengths, lengths)
    limit = et.deep_kernels.deep_kernel(activation, depth=depth, weight_std=1.2, bias_std=bias_std)
    off = ~np.eye(4, dtype=bool)
    expected = np.asarray(limit(lengths[:, None], lengths[None], cosine).ntk)[off]
    error = np.asarray(samples.std(axis=0) / np.sqrt(60))[off]
    bias = 0.01 * np.abs(expected).max()  # of order 1/width
    assert np.all(np.abs(np.asarray(samples.mean(axis=0))[off] - expected) < 4 * error + bias)


@every_network
def test_equal_arguments_give_equal_networks(build):
    assert build() is build() and et.symmetric(build()) is et.symmetric(build())
    assert build(num_outputs=2) is build(num_outputs=np.int64(2))
    assert build() != build(weight_std=2.0) and build() != build(num_outputs=1)


@pytest.mark.parametrize(
    "name, build",
    [
        ("dim", lambda: et.fully_connected(0, 4, "erf", depth=1)),
        ("width", lambda: et.fully_connected(3, 0, "erf", depth=1)),
        ("depth", lambda: et.fully_connected(3, 4, "erf", depth=0)),
        ("activation", lambda: et.fully_connected(3, 4, "gelu2", depth=1)),
        ("weight_std", lambda: et.fully_connected(3, 4, "erf", depth=1, weight_std=0.0)),
        ("bias_std", lambda: et.fully_connected(3, 4, "erf", depth=1, bias_std=-1.0)),
        ("width", lambda: et.fully_connected(3, (4, 2), "erf", depth=3)),
        ("width", lambda: et.fully_connected(3, [4, 0], "erf", depth=2)),
        ("num_outputs", lambda: et.fully_connected(3, 4, "erf", depth=1, num_outputs=0)),
        ("num_outputs", lambda: et.convolutional((8, 1), 4, "erf", depth=1, filter_size=3, num_outputs=True)),
        ("num_outputs", lambda: et.residual((8, 1), 4, "erf", num_blocks=1, num_outputs=2.0)),
        ("shape", lambda: et.convolutional((8,), 4, "erf", depth=1, filter_size=3)),
        ("filter_size", lambda: et.convolutional((8, 1), 4, "erf", depth=1, filter_size=9)),
        ("padding", lambda: et.convolutional((8, 1), 4, "erf", depth=1, filter_size=3, padding="valid")),
        ("channels", lambda: et.residual((8, 1), 0, "erf", num_blocks=1)),
        ("num_blocks", lambda: et.residual((8, 1), 4, "erf", num_blocks=0)),
        ("x", lambda: as_images(np.ones(8), (8, 1))),
        ("x", lambda: as_images(np.ones((2, 8, 1)), (8, 1))),
        ("x2", lambda: as_images(np.ones((8, 2)), (8, 1), name="x2")),
    ],
)
def test_bad_arguments_are_named(name, build):
    with refused(name):
        build()


@pytest.mark.parametrize("bias_std", [0.0, 0.5])
def test_a_layer_is_drawn_from_its_own_key_whatever_the_others_are(bias_std):
    network = et.fully_connected(12, (8, 30, 6), "tanh", depth=3, bias_std=bias_std)
    layers = network.init(jax.random.key(4))
    for key, layer in zip(jax.random.split(jax.random.key(4), len(layers)), layers, strict=True):
        key_w, key_b = jax.random.split(key)
        np.testing.assert_array_equal(layer.w, jax.random.normal(key_w, layer.w.shape))
        if bias_std:
            np.testing.assert_array_equal(layer.b, jax.random.normal(key_b, layer.b.shape))
