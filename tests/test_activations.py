import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from earlytime.activations import ACTIVATIONS, resolve_activation
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

NAMES = sorted(ACTIVATIONS)


def density(g):
    return np.exp(-g * g / 2) / np.sqrt(2 * np.pi)


def brute_force(phi):
    """The definitions, with φ' by automatic differentiation, by scipy's adaptive quadrature."""
    slope = jax.jit(jax.grad(phi))
    integral = lambda f: sum(
        scipy.integrate.quad(f, *side, epsabs=1e-11, epsrel=1e-11, limit=200)[0] for side in ((-12.0, 0.0), (0.0, 12.0))
    )
    return [
        integral(lambda g: float(slope(g)) * density(g)),
        integral(lambda g: float(phi(g)) * density(g)),
        integral(lambda g: g * float(slope(g)) * density(g)),
        integral(lambda g: (g**3 / 2 - g) * float(slope(g)) * density(g)),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_their_definitions(name):
    np.testing.assert_allclose(et.gaussian_moments(name), brute_force(resolve_activation(name)), atol=1e-7)


def test_moments_in_closed_form():
    root = 1 / np.sqrt(2 * np.pi)
    expected = {
        "erf": (2 / np.sqrt(3 * np.pi), 0, 0, 0),
        "relu": (0.5, root, root, 0),
        "abs": (0, 2 * root, 2 * root, 0),
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(et.gaussian_moments(name), numbers, atol=1e-12)
    np.testing.assert_allclose(et.gaussian_moments(et.leaky_relu(0.2)), (0.6, 0.8 * root, 0.8 * root, 0), atol=1e-12)


def test_the_papers_table():
    table = {
        "tanh": (0.605706, 0, 0, 0),
        "sigmoid": (0.206621, 0.5, 0, 0),
        "softplus": (0.5, 0.806059, 0.206621, 0.072112),
    }
    for name, numbers in table.items():
        np.testing.assert_allclose(et.gaussian_moments(name), numbers, atol=6e-7)


def test_a_kink_elsewhere_must_be_named():
    shifted = lambda z: jnp.maximum(z - 0.3, 0.0)
    exact = density(0.3) - 0.3 * (1 - 0.6179114221889526)  # E max(g - a, 0)
    assert abs(et.gaussian_moments(shifted, kinks=(0.3,)).theta0 - exact) < 1e-12
    assert abs(et.gaussian_moments(shifted).theta0 - exact) > 1e-6


def test_kinks_beyond_13_deviations_do_not_matter():
    only_there = lambda z: jnp.where(jnp.abs(z) < 14, jnp.maximum(z, 0.0), jnp.inf)
    np.testing.assert_allclose(
        et.gaussian_moments(only_there, kinks=(-30.0, 0.0, 30.0)), et.gaussian_moments("relu"), atol=1e-14
    )


def test_at_its_kink_an_activation_has_the_upper_slope():
    assert [float(jax.grad(resolve_activation(name))(0.0)) for name in ("relu", "abs")] == [1.0, 1.0]


def test_moments_are_float64_inside_jit_and_in_float32():
    inside = []

    @jax.jit
    def traced(a):
        inside.append(et.gaussian_moments("softplus"))
        return a

    traced(1.0)
    jax.config.update("jax_enable_x64", False)
    try:
        single = et.gaussian_moments("softplus")
    finally:
        jax.config.update("jax_enable_x64", True)
    assert inside[0] == single == et.gaussian_moments("softplus")


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2))
def test_moments_are_linear_in_the_activation(a, b):
    mixed = et.gaussian_moments(lambda z: a * jnp.tanh(z) + b * jnp.abs(z))
    parts = [np.array(et.gaussian_moments(name)) for name in ("tanh", "abs")]
    np.testing.assert_allclose(mixed, a * parts[0] + b * parts[1], atol=1e-12)


@pytest.mark.parametrize("bad", ["swoosh", 3, None])
def test_unknown_activation(bad):
    with refused("activation", saying="expected"):
        et.gaussian_moments(bad)


def test_activations_that_cannot_be_integrated():
    with refused("activation", saying="entry by entry"):
        et.gaussian_moments(lambda z: jnp.sum(z))
    with refused("activation", saying="finite"):
        et.gaussian_moments(jnp.log)
    with refused("kinks"):
        et.gaussian_moments("relu", kinks=(np.nan,))
    with refused("slope"):
        et.leaky_relu(np.inf)
