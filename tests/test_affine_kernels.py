import importlib.util

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.activations import resolve_activation
from refusals import refused
from scipy import integrate, stats


def pair(dim, length, length2, cosine):
    """Two inputs of norms length √d and length2 √d with this cosine."""
    x = np.zeros((2, dim))
    x[0, 0], x[1, :2] = length, (length2 * cosine, length2 * np.sqrt(1 - cosine**2))
    return jnp.asarray(x * np.sqrt(dim))


def test_four_erf_layers():
    """The numbers of theory: κ'(0), κ(0) and κ(1) for 4 hidden erf layers."""
    kernel = et.affine_kernels.affine_kernel("erf", depth=4)
    assert abs(kernel.slope - 0.916767) < 1e-6
    assert abs(kernel.norms[0, 0]) < 1e-12
    assert abs(float(et.deep_kernels.deep_kernel("erf", depth=4)(1.0, 1.0, 1.0).ntk) - 1.277801) < 2e-6


def arc_cosine(cosine):
    """E[φφ] and E[φ'φ'] of ReLU for unit variances."""
    angle = np.arccos(cosine)
    return (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)


@pytest.mark.parametrize("depth", [1, 8])
def test_relu_is_the_arc_cosine_kernel(depth):
    length, length2, cosine = 0.8, 1.3, 0.3
    nngp = ntk = cosine
    for _ in range(depth):
        value, slope = arc_cosine(nngp)  # of unit variances: ReLU is homogeneous, and σ_w² = 2
        nngp, ntk = 2 * value, 2 * value + 2 * slope * ntk
    kernel = et.deep_kernels.deep_kernel("relu", depth=depth, weight_std=np.sqrt(2))(length, length2, cosine)
    # the first layer's σ_w² = 2 is one factor more
    np.testing.assert_allclose(kernel.nngp, 2 * length * length2 * nngp, rtol=1e-5)
    np.testing.assert_allclose(kernel.ntk, 2 * length * length2 * ntk, rtol=1e-5)


def test_the_diagonal_of_relu_in_closed_form():
    """Each layer halves r²; the tangent kernel is a sum of depth + 1 equal parts."""
    length = np.array([[0.5, 1.0], [1.0, 2.0]])
    kernel = et.deep_kernels.diagonal_kernel("relu", depth=8)(length)
    np.testing.assert_allclose(kernel.nngp, length**2 / 2**8, rtol=1e-12)
    np.testing.assert_allclose(kernel.ntk, 9 * length**2 / 2**8, rtol=1e-12)


def by_polar_coordinates(f, s, s2, cosine):
    """E[f(su) f(s2 v)] for standard Gaussians u, v of this correlation, f smooth but at 0: kinks lie on four rays."""
    apart = np.arccos(cosine)
    edges = np.unique(np.mod([-np.pi / 2, np.pi / 2, apart - np.pi / 2, apart + np.pi / 2, 0, np.pi], 2 * np.pi))
    edges = np.append(edges, edges[0] + 2 * np.pi)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    half = np.diff(edges)[:, None] / 2
    angle, of_angle = (edges[:-1, None] + half + half * nodes).ravel(), (half * weights).ravel()
    radius, of_radius = 5 * nodes + 5, 5 * weights
    u, v = (radius[:, None] * np.cos(shifted) for shifted in (angle, angle - apart))
    density = (of_radius * radius * np.exp(-(radius**2) / 2))[:, None] * of_angle / (2 * np.pi)
    return np.sum(density * f(s * u) * f(s2 * v))


@pytest.mark.parametrize("cosine", [-1.0, -0.99, 0.3, 0.95, 0.99, 0.9999, 1.0])
@pytest.mark.parametrize("activation", ["relu", "erf", "softplus", et.leaky_relu(0.2), jnp.abs, jax.nn.elu])
def test_a_deep_kernel_is_its_integrals_up_to_both_ends(activation, cosine):
    phi = et.activations.resolve_activation(activation)
    slope = jax.vmap(jax.vmap(jax.grad(phi)))
    kernel = et.deep_kernels.deep_kernel(activation, depth=1)(0.7, 1.2, cosine)
    value = by_polar_coordinates(phi, 0.7, 1.2, cosine)
    np.testing.assert_allclose(kernel.nngp, value, rtol=1e-6, atol=1e-9)
    missing = 3e-5 if activation is jax.nn.elu else 1e-9
    expected = value + by_polar_coordinates(slope, 0.7, 1.2, cosine) * 0.7 * 1.2 * cosine
    np.testing.assert_allclose(kernel.ntk, expected, rtol=1e-6, atol=missing)


def test_a_deep_kernel_refuses_what_is_no_length_or_cosine():
    kernel = et.deep_kernels.deep_kernel("erf", depth=1)
    for name, arguments in {
        "length": (-1e-3, 1, 0),
        "length2": (1, np.array([1, np.nan]), 0),
        "cosine": (1, 1, np.array([0.5, 1 + 2e-5])),
    }.items():
        with refused(name):
            kernel(*arguments)
    for length in (-1e-3, np.array([1, np.nan])):
        with refused("length"):
            et.deep_kernels.diagonal_kernel("erf", depth=1)(length)


def test_cosines_that_are_rounded_are_those_at_both_ends():
    kernel = et.deep_kernels.deep_kernel("relu", depth=2)
    lengths = np.random.default_rng(0).uniform(0.5, 2, size=50)
    for end in (1.0, -1.0):
        exact = kernel(lengths, lengths[::-1], end)
        beyond = kernel(lengths, lengths[::-1], end * (1 + 9e-6))
        for one, other in zip(exact, beyond):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # and not NaN


def test_lengths_in_single_precision_are_computed_with_in_double():
    length = np.float32(0.7)
    deep, diagonal = (getattr(et.deep_kernels, name)("erf", depth=2) for name in ("deep_kernel", "diagonal_kernel"))
    other, cosine = np.float32(0.9), np.float32(0.3)
    for found, expected in (
        (deep(length, other, cosine), deep(float(length), float(other), float(cosine))),
        (diagonal(length), diagonal(float(length))),
    ):
        for one, other in zip(found, expected):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("activation", ["erf", "softplus", "relu", et.leaky_relu(0.2)])
def test_the_diagonal_is_the_series_at_cosine_one(activation):
    options, length = {"depth": 3, "weight_std": 1.3, "bias_std": 0.4}, np.array([0.7, 1.2])
    ours = et.deep_kernels.diagonal_kernel(activation, **options)(length)
    series = et.deep_kernels.deep_kernel(activation, **options)(length, length, 1.0)
    np.testing.assert_allclose(ours.nngp, series.nngp, rtol=1e-5)
    np.testing.assert_allclose(ours.ntk, series.ntk, rtol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed")
@pytest.mark.parametrize("activation", ["erf", "relu", et.leaky_relu(0.2)])
def test_the_diagonal_is_that_of_neural_tangents(activation):
    options, x = {"depth": 3, "weight_std": 1.3, "bias_std": 0.4}, et.sample_inputs(jax.random.key(0), 4, 9)
    ours = et.deep_kernels.diagonal_kernel(activation, **options)(np.linalg.norm(x, axis=1) / 3)
    theirs = et.infinite_width.fully_connected(activation, **options)(x)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(ours, name), np.diagonal(getattr(theirs, name)), rtol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_one_layer_is_the_integral(activation):
    phi = {"tanh": np.tanh, "softplus": lambda z: np.logaddexp(z, 0)}[activation]
    s, s2, cosine = 0.9, 1.2, 0.4
    value, _ = integrate.dblquad(
        lambda b, a: (
            phi(s * a) * phi(s2 * (cosine * a + np.sqrt(1 - cosine**2) * b)) * stats.norm.pdf(a) * stats.norm.pdf(b)
        ),
        -8,
        8,
        -8,
        8,
        epsabs=1e-8,
    )
    np.testing.assert_allclose(et.deep_kernels.deep_kernel(activation, depth=1)(s, s2, cosine).nngp, value, rtol=1e-6)


@pytest.mark.parametrize("activation", ["erf", "softplus", et.leaky_relu(0.2)])
def test_one_hidden_layer_is_theorem_3_6(activation):
    moments, kernel = et.gaussian_moments(activation), et.affine_kernels.affine_kernel(activation, depth=1)
    np.testing.assert_allclose(kernel.slope, 2 * moments.zeta**2, atol=1e-9)
    np.testing.assert_allclose(kernel.curvature / 2, 1.5 * moments.theta1**2, atol=1e-9)
    np.testing.assert_allclose(kernel.norms, np.outer(moments[1:], moments[1:]), atol=1e-9)
    x = et.sample_inputs(jax.random.key(0), 20, 7)
    theirs = et.early_time_features(moments, trained="both", dim=7, trace_sigma_squared=7.0)
    ours = et.affine_kernels.affine_features(kernel, dim=7, mean_squared_rho=1 / 7)
    np.testing.assert_allclose(
        et.linear_kernel(ours, x).dense(), et.linear_kernel(theirs, x).dense(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("activation", ["erf", "softplus"])
def test_the_time_constant_of_one_hidden_layer_is_a_fifth_of_the_early_phase(activation):
    options = {"dim": 30, "learning_rate": 0.7}
    ours = et.affine_kernels.time_constant(et.affine_kernels.affine_kernel(activation, depth=1), **options)
    phase = et.features.early_phase(et.gaussian_moments(activation), trained="both", **options)
    np.testing.assert_allclose(5 * ours, phase, rtol=1e-9)


def test_softplus_needs_more_than_one_norm_feature():
    """κ_rr' = 0.0090 against κ_r²/κ_0 = 0.0043 for 4 softplus layers: no single q will do."""
    norms = et.affine_kernels.affine_kernel("softplus", depth=4).norms
    assert abs(norms[1, 1] - 0.0090) < 1e-4
    assert abs(norms[1, 0] ** 2 / norms[0, 0] - 0.0043) < 1e-4


@pytest.mark.parametrize("activation, bias_std", [("relu", 0.0), ("softplus", 0.5)])
def test_the_expansion_is_taylors(activation, bias_std):
    options = {"depth": 3, "weight_std": 1.3, "bias_std": bias_std}
    expansion = et.affine_kernels.affine_kernel(activation, **options)
    kernel, h = et.deep_kernels.deep_kernel(activation, **options), 1e-3
    powers = lambda r: np.array([1, r - 1, (r - 1) ** 2])
    for r, r2 in [(1 + h, 1 - h), (1 + 2 * h, 1 + h), (1.0, 1 - h)]:
        ours = powers(r) @ expansion.norms @ powers(r2)
        np.testing.assert_allclose(float(kernel(r, r2, 0.0).ntk), ours, atol=20 * h**3)
    step = [float(kernel(1.0, 1.0, rho).ntk) for rho in (-h, 0.0, h)]
    np.testing.assert_allclose((step[2] - step[0]) / (2 * h), expansion.slope, rtol=1e-4)
    np.testing.assert_allclose((step[2] - 2 * step[1] + step[0]) / h**2, expansion.curvature, rtol=1e-3, atol=1e-4)


def test_equal_norms_leave_the_lengths_out():
    kernel = et.affine_kernels.affine_kernel("softplus", depth=2)
    x = pair(5, 1.0, 1.0, 0.2)
    matrix = et.linear_kernel(
        et.affine_kernels.affine_features(kernel, dim=5, mean_squared_rho=0.04, equal_norms=True), x
    ).dense()
    expected = kernel.slope * x @ x.T / 5 + kernel.norms[0, 0] + 0.5 * kernel.curvature * 0.04
    np.testing.assert_allclose(matrix, expected, rtol=1e-5)
    features = et.affine_kernels.affine_features(kernel, dim=5, mean_squared_rho=0.04, equal_norms=True)
    np.testing.assert_array_equal(features(3 * x)[:, 5:], features(x)[:, 5:])


def test_rounding_below_zero_is_zero():
    norms = np.diag([1.0, 0.0, -1e-18])
    kernel = et.affine_kernels.AffineKernel(slope=-1e-18, curvature=0.0, norms=norms)
    matrix = et.linear_kernel(et.affine_kernels.affine_features(kernel, dim=2, mean_squared_rho=0.5), np.eye(2)).dense()
    np.testing.assert_allclose(matrix, np.ones((2, 2)), atol=1e-12)


def test_float64_whatever_the_precision():
    def values():
        yield from et.affine_kernels.affine_kernel("softplus", depth=4)
        yield from et.deep_kernels.deep_kernel("softplus", depth=4)(0.8, 1.2, 0.3)
        yield from et.deep_kernels.diagonal_kernel("softplus", depth=4)(0.8)

    jax.config.update("jax_enable_x64", False)
    try:
        found = list(values())
    finally:
        jax.config.update("jax_enable_x64", True)
    for ours, theirs in zip(found, values()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("activation", ["erf", "softplus", et.leaky_relu(0.2)])
def test_the_series_of_a_layer_is_to_second_order(activation):
    phi, s, h = resolve_activation(activation), 0.9, 1e-3
    for now, before, after in zip(*(et.deep_kernels.hermite_series(phi, at) for at in (s, s - h, s + h))):
        np.testing.assert_allclose(now[1], (after[0] - before[0]) / (2 * h), atol=1e-5)
        np.testing.assert_allclose(now[2], (after[0] - 2 * now[0] + before[0]) / (2 * h**2), atol=1e-5)


def test_an_activation_is_compiled_once_whatever_the_depth_and_the_shapes():
    compiled = []
    note = lambda event, duration, **_: compiled.append(event) if event.endswith("backend_compile_duration") else None
    phi = lambda z: jnp.sin(z)
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        for depth in (1, 3):
            options = {"depth": depth, "weight_std": 1.2, "bias_std": 0.1}
            et.affine_kernels.affine_kernel(phi, **options)
            et.deep_kernels.deep_kernel(phi, **options)(np.linspace(0.5, 1.5, 3 + depth), 1.0, 0.3)
            et.deep_kernels.diagonal_kernel(phi, **options)(np.ones((2, depth)))
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(compiled) == 1


def test_kernels_of_numbers_are_numbers_while_jax_traces():
    kernel = et.deep_kernels.deep_kernel("tanh", depth=2)
    scaled = jax.jit(lambda x: x * kernel(1.0, 1.2, 0.3).ntk)
    np.testing.assert_allclose(scaled(2.0), 2 * kernel(1.0, 1.2, 0.3).ntk, rtol=1e-12)


def test_bad_arguments_are_named():
    with refused("activation"):
        et.affine_kernels.affine_kernel("gelu2", depth=1)
    for build in (et.affine_kernels.affine_kernel, et.deep_kernels.deep_kernel, et.deep_kernels.diagonal_kernel):
        with refused("weight_std"):
            build("erf", depth=1, weight_std=0.0)
        with refused("depth"):
            build("erf", depth=0)
    kernel = et.affine_kernels.affine_kernel("erf", depth=1)
    with refused("mean_squared_rho"):
        et.affine_kernels.affine_features(kernel, dim=3, mean_squared_rho=-1.0)
    with refused("dim"):
        et.affine_kernels.affine_features(kernel, dim=0, mean_squared_rho=0.1)
    with refused("learning_rate"):
        et.affine_kernels.time_constant(kernel, dim=3, learning_rate=0.0)
    with refused("kernel.slope"):  # |z| learns nothing linear
        et.affine_kernels.time_constant(kernel._replace(slope=0.0), dim=3, learning_rate=1.0)
