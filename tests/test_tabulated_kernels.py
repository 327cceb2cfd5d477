import importlib.util

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.tabulated_kernels import tabulated_kernel
from refusals import refused


def inputs(n=12, dim=40, seed=5):
    return et.sample_inputs(jax.random.key(seed), n, dim)


def pair_by_pair(activation, depth, x, x2):
    """`deep_kernel` itself."""
    r, r2 = (jnp.linalg.norm(each, axis=1) / np.sqrt(each.shape[1]) for each in (x, x2))
    cosine = x @ x2.T / x.shape[1] / jnp.outer(r, r2)
    return et.deep_kernels.deep_kernel(activation, depth=depth)(r[:, None], r2[None], cosine).ntk


WITHIN = {"erf": 1e-4, "tanh": 1e-4, "softplus": 1e-8, "relu": 1e-7}
every_activation = pytest.mark.parametrize("activation", WITHIN)


@every_activation
@pytest.mark.parametrize("depth", [1, 8])
def test_it_is_the_kernel_of_every_pair(activation, depth):
    x, x2 = inputs(), inputs(n=7, seed=6)
    kernel = tabulated_kernel(activation, depth=depth)
    np.testing.assert_allclose(kernel(x, x2), pair_by_pair(activation, depth, x, x2), rtol=0, atol=WITHIN[activation])
    off = ~np.eye(len(x), dtype=bool)
    both = kernel(x), pair_by_pair(activation, depth, x, x)
    np.testing.assert_allclose(*(matrix[off] for matrix in both), rtol=0, atol=WITHIN[activation])


@every_activation
def test_the_diagonal_is_not_the_series(activation):
    x = inputs()
    exact = et.deep_kernels.diagonal_kernel(activation, depth=8)(jnp.linalg.norm(x, axis=1) / np.sqrt(x.shape[1])).ntk
    found = jnp.diagonal(tabulated_kernel(activation, depth=8)(x))
    np.testing.assert_allclose(found, exact, rtol=0, atol=WITHIN[activation])


@every_activation
def test_up_to_the_ends_of_the_table(activation):
    angle, r = np.linspace(0, np.pi, 9), np.linspace(0.2, 1.8, 9)
    x = jnp.asarray(np.sqrt(2) * r[:, None] * np.eye(2)[:1])
    x2 = jnp.asarray(np.sqrt(2) * r[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    exact = et.deep_kernels.deep_kernel(activation, depth=8)(r[:, None], r[None], np.cos(angle)).ntk
    found = tabulated_kernel(activation, depth=8)(x, x2)
    np.testing.assert_allclose(found, exact, rtol=0, atol=WITHIN[activation])


@every_activation
def test_copies_of_an_input_in_float32_and_their_opposites(activation):
    x = inputs(n=60)
    kernel = tabulated_kernel(activation, depth=3)
    r = jnp.linalg.norm(x, axis=1) / np.sqrt(x.shape[1])
    for sign in (1.0, -1.0):  # rounding makes some cosines larger than 1
        found = kernel(x.astype(np.float32), (sign * 1.2 * x).astype(np.float32))
        exact = et.deep_kernels.deep_kernel(activation, depth=3)(r, 1.2 * r, sign).ntk
        np.testing.assert_allclose(jnp.diagonal(found), exact, rtol=0, atol=1e-3)


def test_lengths_that_the_table_does_not_have_are_refused():
    kernel, x = tabulated_kernel("erf", depth=1), inputs()
    for factor in (0.1, 2.0, np.array([[2.0]] + [[1.0]] * 11)):
        with refused("x"):
            kernel(factor * x)
        with refused("x2"):
            kernel(x, factor * x)


def test_inside_jit_they_have_no_kernel():
    kernel, x = tabulated_kernel("erf", depth=1), inputs()
    factor = np.array([[0.1], [2.0]] + [[1.0]] * 10)
    beyond = np.arange(12) < 2
    one, two = jax.jit(lambda x, x2: (kernel(x2), kernel(x, x2)))(x, factor * x)
    np.testing.assert_array_equal(np.isnan(one), beyond[:, None] | beyond)
    np.testing.assert_array_equal(np.isnan(two), np.broadcast_to(beyond, (12, 12)))
    np.testing.assert_allclose(one[2:, 2:], kernel(x[2:]), rtol=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed")
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_neural_tangents_agrees(activation):
    x = inputs()
    theirs = et.infinite_width.fully_connected(activation, depth=3)(x).ntk
    np.testing.assert_allclose(tabulated_kernel(activation, depth=3)(x), theirs, rtol=0, atol=WITHIN[activation])


def test_tables_of_several_networks_can_be_stacked():
    x = inputs()
    kernels = [tabulated_kernel(activation, depth=2) for activation in ("erf", "relu")]
    stacked = jax.tree.map(lambda *parts: jnp.asarray(np.stack(parts)), *kernels)
    at_once = jax.lax.map(lambda kernel: kernel(x), stacked)
    np.testing.assert_allclose(at_once, np.stack([kernel(x) for kernel in kernels]), rtol=1e-6)


def test_tables_are_float64_in_float32_and_matrices_as_the_inputs():
    table, x = tabulated_kernel("softplus", depth=2), inputs().astype(np.float32)
    jax.config.update("jax_enable_x64", False)
    try:
        in_float32 = tabulated_kernel("softplus", depth=2)
        assert in_float32(x).dtype == in_float32(x, x[:2]).dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", True)
    for found, expected in zip(in_float32, table):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_bad_arguments_are_named():
    with refused("activation"):
        tabulated_kernel("gelu2", depth=1)
    with refused("depth"):
        tabulated_kernel("erf", depth=0)
