import earlytime as et
import jax
import numpy as np
import pytest
from earlytime.nearest_kernels import kernel_turn, nearest_linear_kernel
from refusals import refused

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)) + 0.5
A = RNG.normal(size=(12, 12))
NOISE = A @ A.T


def test_the_fit_is_least_squares_and_the_gaps_are_spectral_norms():
    kernel = 2 * X @ X.T / 4 + 0.7 + 0.05 * NOISE
    found = nearest_linear_kernel(kernel, X)
    linear, ones = X @ X.T / 4, np.ones((12, 12))
    missed = lambda a, b: np.sum((kernel - a * linear - b * ones) ** 2)
    best = missed(found.linear, found.constant)
    assert all(missed(found.linear + da, found.constant + db) > best for da in (-0.01, 0.01) for db in (-0.01, 0.01))
    rest = kernel - found.linear * linear - found.constant
    assert found.gap == pytest.approx(np.linalg.norm(rest, 2) / np.linalg.norm(kernel, 2))
    off = np.eye(12) - 1 / 12
    k, g = off @ kernel @ off, off @ linear @ off
    a = np.sum(k * g) / np.sum(g * g)
    assert found.centered_gap == pytest.approx(np.linalg.norm(k - a * g, 2) / np.linalg.norm(k, 2))
    assert found.alignment == pytest.approx(np.sum(k * g) / np.linalg.norm(k) / np.linalg.norm(g))
    np.testing.assert_allclose(found.spectrum, np.linalg.eigvalsh(kernel)[::-1] / 12, atol=1e-12)
    assert nearest_linear_kernel(kernel, X, num_eigenvalues=3).spectrum.shape == (3,)


def test_a_large_mean_hides_in_the_plain_gap_alone():
    shape = nearest_linear_kernel(X @ X.T / 4 + NOISE, X)
    lifted = nearest_linear_kernel(X @ X.T / 4 + NOISE + 1000, X)
    assert lifted.gap < 0.05 < shape.gap
    assert lifted.centered_gap == pytest.approx(shape.centered_gap, rel=1e-6)


def test_it_finds_the_moments_of_a_wide_network():
    """Both layers: a = 2 ζ² in high dimension, up to the width's and the samples' fluctuations."""
    task = et.sample_task(jax.random.key(0), 200, 1, 64)
    network = et.two_layer(64, 2048, "erf")
    kernel = et.tangent_kernel(network.apply, network.init(jax.random.key(1)), task.x).dense()
    moments = et.gaussian_moments("erf")
    assert nearest_linear_kernel(kernel, task.x).linear == pytest.approx(2 * moments.zeta**2, rel=0.05)


def test_scale_and_turn_make_up_the_change():
    off = np.eye(12) - 1 / 12
    before, now = X @ X.T, 1.5 * X @ X.T + NOISE
    scale, turn = kernel_turn(now, before)
    k, start = off @ now @ off, off @ before @ off
    assert scale == pytest.approx(np.linalg.norm(k) / np.linalg.norm(start))
    change = np.linalg.norm(k - start) ** 2 / np.linalg.norm(start) ** 2
    assert change == pytest.approx((scale - 1) ** 2 + 2 * scale * turn)
    assert kernel_turn(3 * before, before) == pytest.approx((3, 0), abs=1e-12)
    assert kernel_turn(before + 5, before) == pytest.approx((1, 0), abs=1e-12)


def test_a_small_kernel_with_zeros_has_the_same_shape():
    kernel = np.diag(np.arange(1.0, 31.0))
    x = RNG.normal(size=(30, 4))
    found, small = (nearest_linear_kernel(scale * kernel, x) for scale in (1.0, 1e-6))
    assert found.spectrum.shape == (20,)
    np.testing.assert_allclose(small.linear, 1e-6 * found.linear)
    np.testing.assert_allclose(small[2:5], found[2:5])
    np.testing.assert_allclose(kernel_turn(1e-6 * kernel, 1e-6 * x @ x.T), kernel_turn(kernel, x @ x.T))


def test_what_is_constant_has_no_shape():
    found = nearest_linear_kernel(np.ones((12, 12)), X)
    assert np.isnan(found.centered_gap) and np.isnan(found.alignment) and found.gap < 1e-12
    assert np.isnan(kernel_turn(NOISE, np.ones((12, 12)))).all()


def test_refusals():
    with refused("kernel"):
        nearest_linear_kernel(A, X)
    with refused("kernel"):
        nearest_linear_kernel(np.zeros((12, 12)), X)
    with refused("features"):
        nearest_linear_kernel(NOISE, X[:5])
    with refused("features"):
        nearest_linear_kernel(NOISE, X[:, 0])
    with refused("features"):
        nearest_linear_kernel(NOISE, X * np.nan)
    with refused("start"):
        kernel_turn(NOISE, NOISE[:4, :4])
    with refused("start"):
        kernel_turn(NOISE, A)
