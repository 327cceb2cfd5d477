"""Hermite coefficients, and the features that are made of them."""

import math

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime._hermite import hermite_polynomials
from earlytime.activations import ACTIVATIONS, hermite_coefficients
from earlytime.features import quadratic_features
from refusals import refused
from scipy import stats

WEIGHTS = {"first": (0, 1, 2, 3, 4), "second": (1, 1, 1, 1, 1), "both": (1, 2, 3, 4, 5)}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_first_coefficients_are_the_moments(name):
    moments = et.gaussian_moments(name)
    a = hermite_coefficients(name, degree=4)
    np.testing.assert_allclose(a[:3], [moments.theta0, moments.zeta, moments.theta1 / np.sqrt(2)], atol=1e-12)
    # θ₂ = E[(g⁴/2 - 5g²/2 + 1) φ], in Hermite polynomials He₄/2 + He₂/2
    np.testing.assert_allclose(np.sqrt(6) * a[4] + a[2] / np.sqrt(2), moments.theta2, atol=1e-10)


@pytest.mark.parametrize("degree", range(6))
def test_hermite_polynomials_are_those_of_numpy(degree):
    g = np.linspace(-3, 3, 7)
    expected = [np.polynomial.HermiteE.basis(k)(g) / math.sqrt(math.factorial(k)) for k in range(degree + 1)]
    np.testing.assert_allclose(hermite_polynomials(g, degree), expected, atol=1e-12)
    assert hermite_coefficients("relu", degree=degree).shape == (degree + 1,)


@pytest.mark.parametrize("length", [0.5, 1.0, 1.7])
def test_a_polynomial_has_the_coefficients_that_it_is_made_of(length):
    """(rg)³ = r³ (√6 h₃ + 3 h₁)."""
    a = hermite_coefficients(lambda z: z**3, degree=5, length=length)
    np.testing.assert_allclose(a, length**3 * np.array([0, 3, 0, np.sqrt(6), 0, 0]), atol=1e-10)


def test_relu_in_closed_form_at_any_length():
    a = hermite_coefficients("relu", degree=4, length=1.3)
    root = np.sqrt(2 * np.pi)
    np.testing.assert_allclose(
        a, 1.3 * np.array([1 / root, 0.5, 1 / (2 * np.sqrt(np.pi)), 0, -1 / (root * np.sqrt(24))]), atol=1e-12
    )


def test_squares_add_up():
    for name in ("softplus", "erf"):
        a = hermite_coefficients(name, degree=60)
        g, weights = np.polynomial.hermite_e.hermegauss(100)
        phi = np.asarray(ACTIVATIONS[name](jnp.asarray(g)))
        np.testing.assert_allclose(a @ a, weights @ phi**2 / np.sqrt(2 * np.pi), rtol=1e-8)


def test_a_kink_that_is_given_stays_where_it_is():
    """φ(z) = max(z - 1, 0), whose kink lies at g = 1/r."""
    phi = lambda z: jnp.maximum(z - 1.0, 0.0)
    a = hermite_coefficients(phi, degree=0, length=2.0, kinks=(1.0,))
    exact = 2 * stats.norm.pdf(0.5) - stats.norm.sf(0.5)  # E(2g - 1)₊
    np.testing.assert_allclose(a, [exact], rtol=1e-12)


def sphere(seed, n, dim):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return jnp.asarray(x * np.sqrt(dim) / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.mark.parametrize("trained", WEIGHTS)
@pytest.mark.parametrize("name", ["relu", "softplus", "erf", "sigmoid"])
def test_the_features_kernel(trained, name):
    a, dim = hermite_coefficients(name, degree=4), 7
    x = sphere(0, 5, dim)
    psi = quadratic_features(a, trained=trained, dim=dim)(x)
    assert psi.shape == (5, 1 + dim + dim * (dim + 1) // 2)
    c, rho = np.array(WEIGHTS[trained]) * a**2, np.asarray(x @ x.T) / dim
    exact = c[0] + 3 * c[4] / dim**2 + (c[1] + 3 * c[3] / dim) * rho + c[2] * rho**2
    np.testing.assert_allclose(psi @ psi.T, exact, atol=1e-12)


def test_three_coefficients_have_no_corrections_and_five_are_enough():
    a = hermite_coefficients(lambda z: jax.scipy.special.erf(z + 0.5), degree=6)
    make = lambda a: quadratic_features(a, trained="both", dim=9)
    np.testing.assert_allclose(make(a[:3]), [a[0], np.sqrt(2 / 9) * a[1], np.sqrt(3) * abs(a[2]) / 9], rtol=1e-12)
    assert make(a) == make(a[:5]) != make(a[:4]) and make(a[:4]).linear != make(a[:3]).linear


@pytest.mark.parametrize("trained", WEIGHTS)
def test_a_wide_network_has_this_kernel_but_for_higher_orders(trained):
    """At large d, where ρ³ is small: Monte Carlo over neurons."""
    dim = 200
    x = sphere(1, 4, dim)
    params = et.two_layer(dim, 50000, "softplus").init(jax.random.key(0))
    theta = np.asarray(et.two_layer_kernel(params, x, "softplus", trained=trained).dense())
    psi = quadratic_features(hermite_coefficients("softplus", degree=4), trained=trained, dim=dim)(x)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(np.asarray(psi @ psi.T)[off], theta[off], atol=0.012)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("name", ["relu", "softplus", "erf"])
def test_the_curvature_of_a_deep_kernel_is_twice_its_second_coefficient(name, depth):
    """At any depth, by differences of the kernel itself; with one hidden layer it is 3 a₂²."""
    kernel = et.deep_kernels.deep_kernel(name, depth=depth)
    h = 1e-2
    low, middle, high = kernel(1.0, 1.0, np.array([-h, 0.0, h])).ntk
    found = et.affine_kernels.affine_kernel(name, depth=depth)
    np.testing.assert_allclose(found.curvature / 2, (low - 2 * middle + high) / (2 * h**2), rtol=1e-3, atol=1e-9)
    if depth == 1:
        a = hermite_coefficients(name, degree=2)
        np.testing.assert_allclose([found.slope, found.curvature / 2], [2 * a[1] ** 2, 3 * a[2] ** 2], atol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_features_have_the_precision_of_the_inputs(dtype):
    psi = quadratic_features(hermite_coefficients("relu", degree=4), trained="both", dim=5)
    x = sphere(2, 3, 5).astype(dtype)
    assert psi(x).dtype == jax.jit(lambda x: psi(x))(x).dtype == dtype
    np.testing.assert_allclose(jax.jit(lambda x: psi(x))(x), psi(x), rtol=1e-5)


def test_a_linear_model_learns_a_quadratic_function_of_them():
    x = sphere(3, 60, 4)
    y = x[:, 0] * x[:, 1]
    psi = quadratic_features(hermite_coefficients("relu", degree=4), trained="both", dim=4)
    model = et.linear_model(psi, x, y, learning_rate=lambda limit: limit / 2)
    np.testing.assert_allclose(model.predict_limit(x), y, atol=1e-8)


def test_what_is_refused():
    a = hermite_coefficients("relu", degree=4)
    with refused("degree"):
        hermite_coefficients("relu", degree=-1)
    with refused("degree"):
        hermite_coefficients("relu", degree=128)
    with refused("length"):
        hermite_coefficients("relu", degree=2, length=0.0)
    with refused("activation"):
        hermite_coefficients("rellu", degree=2)
    with refused("activation", saying="entry by entry"):
        hermite_coefficients(lambda z: z.sum(), degree=2)
    with refused("kinks"):
        hermite_coefficients("relu", degree=2, kinks=(np.inf,))
    with refused("coefficients", saying="k >= 3"):
        quadratic_features(a[:2], trained="both", dim=3)
    with refused("coefficients", saying="finite"):
        quadratic_features(a * np.nan, trained="both", dim=3)
    with refused("trained"):
        quadratic_features(a, trained="all", dim=3)
    with refused("dim"):
        quadratic_features(a, trained="both", dim=0)
    with refused("x", saying="norm"):
        quadratic_features(a, trained="both", dim=3)(jnp.ones((2, 3)) * 1.1)
    with refused("x", saying="shape"):
        quadratic_features(a, trained="both", dim=3)(jnp.ones(3))
