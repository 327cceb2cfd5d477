import itertools

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.diagonal_networks import (
    DiagonalParams,
    diagonal_linear,
    hypentropy,
    minimum_l1,
    minimum_potential,
    potential,
)
from refusals import refused
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq, minimize, minimize_scalar

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(3, 6)), DRAW.normal(size=3)
every_depth = pytest.mark.parametrize("depth", [2, 3, 4, 5])


def h(u, depth):
    p = None if depth == 2 else depth / (depth - 2)
    return 2 * np.sinh(u) if depth == 2 else (1 - u) ** -p - (1 + u) ** -p


def inverse(z, depth):
    return brentq(lambda u: h(u, depth) - z, -50 if depth == 2 else -1 + 1e-12, 50 if depth == 2 else 1 - 1e-12)


@every_depth
def test_the_potential_is_the_integral_of_the_inverse(depth):
    z = np.array([-30.0, -1.0, 0.0, 0.01, 0.3, 2.0, 100.0])
    exact = [quad(inverse, 0, each, args=(depth,), epsabs=1e-9)[0] for each in z]
    np.testing.assert_allclose(potential(z, depth), exact, rtol=1e-7, atol=1e-12)


@every_depth
def test_the_potential_near_zero_and_far_from_it(depth):
    p = 1 if depth == 2 else depth / (depth - 2)
    np.testing.assert_allclose(potential([1e-3], depth), 1e-6 / (4 * p), rtol=1e-5)
    far = 1e9 * (np.log(1e9) - 1) if depth == 2 else 1e9
    np.testing.assert_allclose(potential([1e9, -1e9], depth), far, rtol=1e-2)
    np.testing.assert_array_equal(potential([2.0], 2), hypentropy([2.0]))


@every_depth
def test_gradient_flow_ends_there(depth):
    """The flow itself, integrated until it stands still; so every factor and exponent counts."""
    scale, (_, d) = 0.6, X.shape

    def flow(_, w):
        plus, minus = w[:d], w[d:]
        gradient = X.T @ (X @ (plus**depth - minus**depth) - Y)
        return -depth * np.concatenate([gradient * plus ** (depth - 1), -gradient * minus ** (depth - 1)])

    w = solve_ivp(flow, (0, 400), np.full(2 * d, scale), method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    found = minimum_potential(X, Y, scale, depth)
    np.testing.assert_allclose(found.beta, w[:d] ** depth - w[d:] ** depth, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.concatenate(found.params), w, rtol=1e-6)
    np.testing.assert_allclose(found.beta, scale**depth * h(X.T @ found.dual, depth), rtol=1e-9)


@every_depth
@pytest.mark.parametrize("scale", [0.2, 1.5])
def test_no_other_solution_has_a_smaller_potential(depth, scale):
    start, null = np.linalg.pinv(X) @ Y, np.linalg.svd(X)[2][3:]
    total = lambda free: np.sum(potential((start + free @ null) / scale**depth, depth))
    best = minimize(total, np.zeros(3), tol=1e-12)
    found = minimum_potential(X, Y, scale, depth).beta
    np.testing.assert_allclose(X @ found, Y, rtol=1e-12)
    np.testing.assert_allclose(found, start + best.x @ null, atol=1e-3)
    assert np.sum(potential(found / scale**depth, depth)) <= best.fun + 1e-9


@every_depth
def test_both_ends_are_approached_as_powers_of_the_scale(depth):
    exponent = lambda scales, target: np.polyfit(
        np.log(scales),
        [np.log(np.linalg.norm(minimum_potential(X, Y, s, depth).beta - target)) for s in scales],
        1,
    )[0]
    assert exponent([5.0, 10.0], np.linalg.pinv(X) @ Y) == pytest.approx(-2 * depth, abs=0.02)
    sparse = minimum_l1(X, Y)
    rate = 2 * (1 - sparse.certificate) if depth == 2 else depth
    scales = [1e-5, 1e-4] if depth == 2 else [3e-3, 1e-2]
    assert exponent(scales, sparse.beta) == pytest.approx(rate, abs=0.02 if depth == 2 else 0.1)


def test_the_solution_of_the_smallest_l1_norm_against_all_supports():
    norms = []
    for support in map(list, itertools.combinations(range(6), 3)):
        beta = np.zeros(6)
        beta[support] = np.linalg.solve(X[:, support], Y)
        norms.append((np.abs(beta).sum(), *beta))
    np.testing.assert_allclose(minimum_l1(X, Y).beta, min(norms)[1:], atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e9])
def test_a_sparse_solution_has_the_scale_of_its_problem(scale):
    expected = minimum_l1(X, Y)
    for found, unit in ((minimum_l1(X, scale * Y), scale), (minimum_l1(scale * X, Y), 1 / scale)):
        np.testing.assert_allclose(found.beta / unit, expected.beta, rtol=1e-9)
        assert found.certificate == pytest.approx(expected.certificate, rel=1e-9)


def test_the_certificate_against_a_search_in_one_dimension():
    """Three entries and four samples leave a line of duals."""
    x = np.random.default_rng(0).normal(size=(4, 6))
    truth = np.array([0, 2, 0, 0.5, -1, 0])
    found = minimum_l1(x, x @ truth)
    np.testing.assert_allclose(found.beta, truth, atol=1e-12)
    on, off = x[:, truth != 0].T, x[:, truth == 0].T
    base, along = np.linalg.pinv(on) @ [1, 1, -1], np.linalg.svd(on)[2][3]
    search = minimize_scalar(lambda t: np.abs(off @ (base + t * along)).max(), bracket=(-5, 5), tol=1e-12)
    assert found.certificate == pytest.approx(search.fun, abs=1e-6)
    assert minimum_l1(x, -x @ truth).certificate == pytest.approx(search.fun, abs=1e-6)


def test_problems_with_one_solution():
    x, y = np.eye(2), np.array([3.0, -1.0])
    np.testing.assert_allclose(minimum_potential(x, y, 0.1, 3).beta, y, rtol=1e-12)
    found = minimum_l1(x, y)
    np.testing.assert_allclose(found.beta, y)
    assert found.certificate == 0


@every_depth
def test_the_network_and_its_kernel_at_the_start(depth):
    network = diagonal_linear(6, depth, 0.7)
    start = network.init(jax.random.key(0))
    np.testing.assert_array_equal(network.apply(start, X), np.zeros(3))
    kernel = et.tangent_kernel(network.apply, start, X).dense()
    np.testing.assert_allclose(kernel, 2 * depth**2 * 0.7 ** (2 * depth - 2) * X @ X.T, rtol=1e-12)
    assert diagonal_linear(2, depth, 0.1).apply is network.apply
    params = DiagonalParams(jnp.arange(6.0), jnp.ones(6))
    np.testing.assert_allclose(network.apply(params, X), X @ (np.arange(6.0) ** depth - 1), rtol=1e-12)


def test_single_precision_and_whole_numbers():
    with jax.enable_x64(False):
        network = diagonal_linear(6, 3, 0.5)
        assert network.apply(network.init(None), X.astype(np.float32)).dtype == np.float32
    assert diagonal_linear(3, 2, 1).init(None).positive.dtype == np.float64
    single = minimum_potential(X.astype(np.float32), Y.astype(np.float32), 0.5, 3)
    assert single.beta.dtype == np.float64
    np.testing.assert_allclose(single.beta, minimum_potential(X, Y, 0.5, 3).beta, rtol=1e-4)
    np.testing.assert_allclose(minimum_l1(np.array([[1, 2]]), np.array([4])).beta, [0, 2])


def test_scales_beyond_rounding_are_refused_and_others_solved():
    assert np.abs(minimum_potential(X, Y, 1e-6, 2).beta - minimum_l1(X, Y).beta).max() < 1e-2
    with refused("scale"):
        minimum_potential(X, Y, 1e-9, 4)


def test_refusals():
    solvers = [lambda x, y: minimum_potential(x, y, 0.1, 2), minimum_l1]
    for solve in solvers:
        for x in (X.T, X[0], np.vstack([X[:2], X[:1]]), X * np.nan, X * 1j):
            with refused("x"):
                solve(x, np.ones(len(x)))
        for y in (Y[:2], 0 * Y, Y * np.inf):
            with refused("y"):
                solve(X, y)
    for scale in (0.0, -1.0, np.nan):
        with refused("scale"):
            minimum_potential(X, Y, scale, 2)
        with refused("scale"):
            diagonal_linear(3, 2, scale)
    for depth in (1, 2.0):
        with refused("depth"):
            minimum_potential(X, Y, 0.1, depth)
        with refused("depth"):
            diagonal_linear(3, depth, 0.1)
        with refused("depth"):
            potential([1.0], depth)
    with refused("dim"):
        diagonal_linear(0, 2, 0.1)
    with refused("z"):
        hypentropy([np.inf])
    with refused("z"):
        potential([1j], 3)
