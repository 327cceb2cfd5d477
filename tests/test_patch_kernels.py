import importlib.util
import itertools

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import patch_kernels
from refusals import refused


def signs(n=5, dim=7):
    return et.sample_inputs(jax.random.key(3), n, dim, entries="rademacher")


def test_relu_is_the_arc_cosine_kernel_up_to_both_ends():
    filters, readout = patch_kernels.patch_kernel("relu", filter_size=4)
    cosine = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    angle = np.arccos(cosine)
    np.testing.assert_allclose(filters, cosine * (np.pi - angle) / (2 * np.pi), atol=1e-12)
    np.testing.assert_allclose(readout, (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi), atol=1e-12)


def test_behind_the_end_the_value_there_is_repeated():
    short, long = (patch_kernels.patch_kernel("softplus", filter_size=3, num_values=k) for k in (None, 6))
    np.testing.assert_allclose(long[:, :4], short, rtol=1e-12)
    np.testing.assert_array_equal(long[:, 4:], np.repeat(long[:, 3:4], 2, axis=1))


@pytest.mark.parametrize("filter_size", [1, 2, 3, 7])
def test_ring_kernel_looks_at_every_patch(filter_size):
    x, kappa = np.asarray(signs()), np.random.default_rng(0).normal(size=(2, filter_size + 1))
    expected = np.zeros((2, len(x), len(x)))
    for (i, a), (j, b) in itertools.product(enumerate(x), repeat=2):
        for p in range(x.shape[1]):
            pixels = (p + np.arange(filter_size)) % x.shape[1]
            expected[:, i, j] += kappa[:, int(np.sum(a[pixels] == b[pixels]))] / x.shape[1]
    np.testing.assert_allclose(patch_kernels.ring_kernel(x, kappa, filter_size=filter_size), expected, atol=1e-12)


def test_filters_as_large_as_the_ring_make_the_fully_connected_network():
    x, dim = signs(), 7
    kappa = patch_kernels.patch_kernel("erf", filter_size=dim).sum(axis=0)[None]
    expected = et.deep_kernels.deep_kernel("erf", depth=1)(1.0, 1.0, x @ x.T / dim).ntk
    np.testing.assert_allclose(patch_kernels.ring_kernel(x, kappa, filter_size=dim)[0], expected, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed")
@pytest.mark.parametrize("activation, filter_size", [("erf", 3), ("relu", 5), ("relu", 6)])
def test_neural_tangents_agrees(activation, filter_size):
    x = signs(dim=12)
    theirs = et.infinite_width.convolutional((12, 1), activation, depth=1, filter_size=filter_size)(x).ntk
    kappa = patch_kernels.patch_kernel(activation, filter_size=filter_size).sum(axis=0)[None]
    ours = patch_kernels.ring_kernel(x, kappa, filter_size=filter_size)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_filter_sizes_may_be_traced():
    x, sizes = signs(), [2, 5]
    tables = np.stack([patch_kernels.patch_kernel("tanh", filter_size=q, num_values=8) for q in sizes])
    at_once = jax.lax.map(
        lambda at: patch_kernels.ring_kernel(x, at[1], filter_size=at[0]), (jnp.asarray(sizes), jnp.asarray(tables))
    )
    each = [patch_kernels.ring_kernel(x, table, filter_size=q) for q, table in zip(sizes, tables)]
    np.testing.assert_allclose(at_once, np.stack(each), rtol=1e-12)


def test_mean_and_slope_are_those_of_all_pairs_of_patches():
    q, kappa = 4, np.random.default_rng(1).normal(size=7)
    rho = np.array([np.mean(pattern) for pattern in itertools.product([-1, 1], repeat=q)])
    values = kappa[np.round((rho + 1) * q / 2).astype(int)]
    mean, slope = patch_kernels.mean_and_slope(kappa, filter_size=q)
    np.testing.assert_allclose(mean, values.mean())
    np.testing.assert_allclose(slope, np.sum((values - values.mean()) * rho) / np.sum(rho**2))


def test_bad_arguments_are_named():
    with refused("activation"):
        patch_kernels.patch_kernel("gelu2", filter_size=2)
    with refused("filter_size"):
        patch_kernels.patch_kernel("erf", filter_size=0)
    with refused("num_values"):
        patch_kernels.patch_kernel("erf", filter_size=2, num_values=2)
    for filter_size, values in ((0, 3), (3, 3), (8, 9)):
        with refused("filter_size"):
            patch_kernels.ring_kernel(signs(), jnp.ones((1, values)), filter_size=filter_size)
    for filter_size in (0, 3):
        with refused("filter_size"):
            patch_kernels.mean_and_slope(np.ones(3), filter_size=filter_size)
