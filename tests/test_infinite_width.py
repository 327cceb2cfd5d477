"""neural-tangents against the module: two implementations of every kernel."""

import importlib.util
import math

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import infinite_width
from refusals import refused

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)


def inputs(n=6, dim=12):
    return et.sample_inputs(jax.random.key(7), n, dim)


@pytest.mark.parametrize(
    "activation, depth, bias_std", [("erf", 4, 0.0), ("relu", 4, 0.5), (et.leaky_relu(0.2), 1, 0.5)]
)
def test_fully_connected_is_the_dual_recursion(activation, depth, bias_std):
    options = {"depth": depth, "weight_std": 1.2, "bias_std": bias_std}
    x = inputs()
    lengths = jnp.linalg.norm(x, axis=1) / np.sqrt(12)
    cosine = x @ x.T / 12 / jnp.outer(lengths, lengths)
    ours = et.deep_kernels.deep_kernel(activation, **options)(lengths[:, None], lengths[None], cosine)
    theirs = infinite_width.fully_connected(activation, **options)(x)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5)


def test_numerical_activations_too():
    x, options = inputs(), {"depth": 2, "bias_std": 0.3}
    lengths = jnp.linalg.norm(x, axis=1) / np.sqrt(12)
    cosine = x @ x.T / 12 / jnp.outer(lengths, lengths)
    ours = et.deep_kernels.deep_kernel("softplus", **options)(lengths[:, None], lengths[None], cosine)
    theirs = infinite_width.fully_connected("softplus", **options)(x)
    np.testing.assert_allclose(ours.ntk, theirs.ntk, rtol=1e-5)


@pytest.mark.parametrize("activation, depth", [pytest.param("erf", 4, marks=pytest.mark.slow), ("relu", 2)])
def test_affine_kernel_by_differentiating_neural_tangents(activation, depth):
    """κ'(0) and κ''(0): automatic differentiation of both kernels in the correlation."""
    kernel_fn = infinite_width.fully_connected(activation, depth=depth)
    x = jnp.eye(2)[:1] * np.sqrt(2)
    other = lambda rho: jnp.array([[rho, jnp.sqrt(1 - rho**2)]]) * np.sqrt(2)
    kappa = lambda rho: kernel_fn(x, other(rho)).ntk[0, 0]
    ours = et.affine_kernels.affine_kernel(activation, depth=depth)
    np.testing.assert_allclose(ours.norms[0, 0], kappa(0.0), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(ours.slope, jax.grad(kappa)(0.0), rtol=1e-5)
    np.testing.assert_allclose(ours.curvature, jax.grad(jax.grad(kappa))(0.0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "kind, shape, filter_size, padding",
    [
        ("convolutional", (8, 1), 4, "circular"),
        ("convolutional", (3, 4, 1), 3, "zero"),
        pytest.param("residual", (3, 4, 1), 3, "circular", marks=pytest.mark.slow),
    ],
)
def test_wide_convolutions_have_the_infinite_kernel(kind, shape, filter_size, padding):
    options = {"filter_size": filter_size, "padding": padding, "bias_std": 0.3}
    options |= {"depth": 2} if kind == "convolutional" else {"num_blocks": 1}
    network = getattr(et, kind)(shape, 128, "erf", **options)
    x = inputs(4, math.prod(shape))
    kernel = lambda key: et.tangent_kernel(network.apply, network.init(key), x).dense()
    samples = jax.lax.map(kernel, jax.random.split(jax.random.key(3), 30))
    expected = np.asarray(getattr(infinite_width, kind)(shape, "erf", **options)(x).ntk)
    error = np.asarray(samples.std(axis=0)) / np.sqrt(30)
    assert np.all(np.abs(samples.mean(axis=0) - expected) < 4 * error + 0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    "network, shape",
    [
        (et.fully_connected(12, 16, "erf", depth=3, bias_std=0.2), (12,)),
        pytest.param(et.convolutional((3, 4, 1), 8, "relu", depth=2, filter_size=3), (12,), marks=pytest.mark.slow),
        (et.residual((3, 4, 1), 8, "tanh", num_blocks=1), (12,)),
    ],
    ids=["fully connected", "convolutional", "residual"],
)
def test_empirical_kernels_agree(network, shape):
    """`tangent_kernel` against neural-tangents' `empirical_ntk_fn`."""
    from earlytime import _neural_tangents

    nt = _neural_tangents.load()
    params, x, x2 = network.init(jax.random.key(0)), inputs(5, *shape), inputs(3, *shape) * 0.7
    column = lambda params, x: network.apply(params, x)[:, None]
    theirs = nt.empirical_ntk_fn(column, trace_axes=(-1,))(x, x2, params)
    ours = et.tangent_kernel(network.apply, params, x, x2)
    np.testing.assert_allclose(ours.dense(), theirs, rtol=1e-5)
    u = jnp.arange(3.0)
    np.testing.assert_allclose(ours.matvec(u), theirs @ u, rtol=1e-5)


def finite(network, x):
    return network.apply(network.init(jax.random.key(0)), x)


NAME = lambda activation: getattr(activation, "__name__", str(activation))  # no address
ZERO_ROWS = ["erf", "tanh", "relu", "sigmoid", "softplus", "abs", et.leaky_relu(0.2), jnp.cos]


@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", jnp.cos], ids=NAME)
def test_zero_rows_have_the_limit_of_small_ones(activation):
    """In one layer all is known: E[φ(0)φ(v)] = φ(0)E[φ(v)], and the tangent kernel's other part has a factor 0."""
    phi = et.activations.resolve_activation(activation)
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    found = infinite_width.fully_connected(activation, depth=1)(x)
    g, density = et.activations.gaussian_quadrature((0.0,))
    at_zero, other = float(phi(jnp.zeros(()))), density @ np.asarray(phi(jnp.asarray(np.sqrt(2.5) * g)))
    for kernel in found:
        np.testing.assert_allclose(kernel[0], [at_zero**2, at_zero * other], atol=1e-9)
    for bias_std in (0.0, 0.4):
        deep = infinite_width.fully_connected(activation, depth=2, bias_std=bias_std)
        for zero, small in zip(deep(x), deep(x + np.array([[1e-9], [0.0]]))):
            np.testing.assert_allclose(zero, small, atol=1e-7)


@pytest.mark.parametrize("kind, options", [("convolutional", {"depth": 1}), ("residual", {"num_blocks": 1})])
def test_patches_of_zeros_have_the_limit_of_small_ones(kind, options):
    images = np.zeros((2, 5, 5, 1))
    images[0, 1, 1], images[1, 3, 3] = 1.0, 2.0
    x = images.reshape(2, 25)
    kernels = getattr(infinite_width, kind)((5, 5, 1), "tanh", filter_size=3, padding="zero", **options)
    for zero, small in zip(kernels(x), kernels(x + 1e-8)):
        np.testing.assert_allclose(zero, small, atol=1e-7)


@pytest.mark.parametrize("activation", ZERO_ROWS, ids=NAME)
def test_kernels_of_lengths_at_0(activation):
    for depth, bias_std in ((1, 0.0), (3, 0.0), (3, 0.4)):
        deep = et.deep_kernels.deep_kernel(activation, depth=depth, bias_std=bias_std)
        for others in ((1.0, 0.3), (0.0, 0.3)):
            for zero, small in zip(deep(0.0, *others), deep(1e-9, *others)):
                np.testing.assert_allclose(zero, small, atol=1e-8)
        if bias_std == 0:  # the cosine of nothing does not matter
            np.testing.assert_allclose(
                deep(0.0, 0.0, 0.3), et.deep_kernels.diagonal_kernel(activation, depth=depth)(0.0)
            )


def test_what_numpy_computes_must_be_known():
    """Inside of jit all is well with numbers, and what is traced is refused by name."""
    slope = lambda std: et.affine_kernels.affine_kernel("erf", depth=1, weight_std=std).slope
    np.testing.assert_allclose(jax.jit(lambda a: a * slope(1.3))(2.0), 2 * slope(1.3), rtol=1e-12)
    calls = {
        "weight_std": [slope, lambda a: et.deep_kernels.deep_kernel("erf", depth=1, weight_std=a)],
        "bias_std": [
            lambda a: et.affine_kernels.affine_kernel("erf", depth=1, bias_std=a),
            lambda a: et.deep_kernels.diagonal_kernel("erf", depth=1, bias_std=a),
        ],
        "length": [
            lambda a: et.deep_kernels.deep_kernel("erf", depth=1)(a, 1.0, 0.3),
            lambda a: et.deep_kernels.diagonal_kernel("erf", depth=1)(a),
        ],
        "cosine": [lambda a: et.deep_kernels.deep_kernel("erf", depth=1)(1.0, 1.0, a)],
    }
    for name, functions in calls.items():
        for function in functions:
            with refused(name, saying="traced"):
                jax.jit(function)(0.5)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("depth", lambda: infinite_width.fully_connected("erf", depth=0)),
        ("weight_std", lambda: infinite_width.fully_connected("erf", depth=1, weight_std=-1.0)),
        ("bias_std", lambda: infinite_width.fully_connected("erf", depth=1, bias_std=-1.0)),
        ("activation", lambda: infinite_width.fully_connected("erfy", depth=1)),
        ("depth", lambda: infinite_width.convolutional((6, 1), "erf", depth=0, filter_size=3)),
        ("padding", lambda: infinite_width.convolutional((6, 1), "erf", depth=1, filter_size=3, padding="same")),
        ("filter_size", lambda: infinite_width.convolutional((6, 1), "erf", depth=1, filter_size=7)),
        ("shape", lambda: infinite_width.convolutional((6,), "erf", depth=1, filter_size=3)),
        ("num_blocks", lambda: infinite_width.residual((6, 1), "erf", num_blocks=0)),
        ("padding", lambda: infinite_width.residual((6, 1), "erf", num_blocks=1, padding="same")),
        ("depth", lambda: infinite_width.fully_connected("erf", depth=-1)),
        ("weight_std", lambda: infinite_width.convolutional((6, 1), "erf", depth=1, filter_size=3, weight_std=-1.0)),
        ("bias_std", lambda: infinite_width.residual((6, 1), "erf", num_blocks=1, bias_std=-1.0)),
        ("x", lambda: infinite_width.fully_connected("erf", depth=1)(np.ones(3))),
        ("x", lambda: infinite_width.fully_connected("erf", depth=1)(np.full((2, 3), np.nan))),
        ("x2", lambda: infinite_width.fully_connected("erf", depth=1)(np.ones((2, 3)), np.ones((2, 4)))),
        ("x", lambda: infinite_width.convolutional((6, 6, 1), "erf", depth=1, filter_size=3)(np.ones((3, 144)))),
        ("x", lambda: infinite_width.residual((6, 6, 1), "erf", num_blocks=1)(np.ones((3, 144)))),
        ("x2", lambda: infinite_width.residual((6, 6), "erf", num_blocks=1)(np.ones((3, 36)), np.ones((3, 72)))),
        ("x", lambda: finite(et.convolutional((6, 6, 1), 4, "erf", depth=1, filter_size=3), np.ones((3, 144)))),
        ("x", lambda: finite(et.residual((6, 6, 1), 4, "erf", num_blocks=1), np.ones((3, 144)))),
        ("weight_std", lambda: et.affine_kernels.affine_kernel("erf", depth=1, weight_std=-1.0)),
        ("weight_std", lambda: et.deep_kernels.deep_kernel("erf", depth=1, weight_std=-1.0)),
        ("bias_std", lambda: et.deep_kernels.deep_kernel("erf", depth=1, bias_std=-0.1)),
    ],
)
def test_what_the_networks_refuse_is_refused_here_too(name, build):
    with refused(name):
        build()
