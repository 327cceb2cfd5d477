"""Stable ranks and margins against brute force; their closed forms against training written out in NumPy."""

import math

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import stable_rank_formulas as formulas
from earlytime import stable_ranks
from refusals import refused

SLOPES = pytest.mark.parametrize("slope", [0.1, 0.5])


@pytest.fixture
def rng():
    return np.random.default_rng(1000)


def rank_of(w):
    """By the eigenvalues of the Gram matrix, which is another way than the module's."""
    return np.trace(w @ w.T) / np.linalg.eigvalsh(w @ w.T)[-1]


def trained(slope, n, m, d, rate, num_steps, scale, rng):
    """Gradient descent in NumPy, with inputs √d e_i: W after every step, and the outputs' margins."""
    w, v = scale * rng.normal(size=(m, d)), np.repeat([1.0, -1.0], m // 2)
    x, y = math.sqrt(d) * np.eye(n, d), np.resize([1.0, -1.0], n)
    for _ in range(num_steps):
        z = x @ w.T / math.sqrt(d)
        f = np.where(z >= 0, z, slope * z) @ v / math.sqrt(m)
        pull = y / (1 + np.exp(y * f)) / n
        w = w + rate * v[:, None] * (np.where(z >= 0, 1, slope).T * pull) @ x / math.sqrt(d * m)
        z = x @ w.T / math.sqrt(d)
        f = np.where(z >= 0, z, slope * z) @ v / math.sqrt(m)
        yield w, y * f / np.linalg.norm(w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stable_rank_is_that_of_the_eigenvalues(dtype, rng):
    w = rng.normal(size=(5, 3))
    found = stable_ranks.stable_rank(w.astype(dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, rank_of(w), rtol=1e-5 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(jax.jit(stable_ranks.stable_rank)(1e-30 * w.astype(dtype)), rank_of(w), rtol=1e-5)


def test_whole_numbers_are_numbers():
    w, y = np.array([[1, -1, 1], [1, 1, -1]]), np.array([1, -1, 1])
    np.testing.assert_allclose(stable_ranks.stable_rank(w), rank_of(w.astype(float)), rtol=1e-12)
    margins = stable_ranks.normalized_margins(3 * y, y, w)
    np.testing.assert_allclose(margins, 3 / np.linalg.norm(w), rtol=1e-12)


def test_stable_rank_is_between_one_and_the_rank(rng):
    u, v = rng.normal(size=(2, 4))
    np.testing.assert_allclose(stable_ranks.stable_rank(np.outer(u, v)), 1, rtol=1e-12)
    np.testing.assert_allclose(stable_ranks.stable_rank(3 * np.eye(4, 7)), 4, rtol=1e-12)


def test_normalized_margins_do_not_depend_on_the_size_of_the_weights(rng):
    network = stable_ranks.independent_two_layer(3, 4, et.leaky_relu(0.2))
    params, x, y = network.init(jax.random.key(0)), rng.normal(size=(5, 3)), np.sign(rng.normal(size=5))
    margins = stable_ranks.normalized_margins(network.apply(params, x), y, params.w)
    z = x @ np.asarray(params.w).T / math.sqrt(3)
    f = np.where(z >= 0, z, 0.2 * z) @ [1, 1, -1, -1] / 2
    np.testing.assert_allclose(margins, y * f / np.sqrt(np.sum(np.asarray(params.w) ** 2)), rtol=1e-12)
    larger = params._replace(w=7 * params.w)
    again = stable_ranks.normalized_margins(network.apply(larger, x), y.astype(int), larger.w)
    np.testing.assert_allclose(again, margins, rtol=1e-12)


def test_neurons_start_independently():
    network = stable_ranks.independent_two_layer(40, 60, "relu")
    assert network is stable_ranks.independent_two_layer(40, 60, "relu")
    params = network.init(jax.random.key(1))
    assert float(jnp.sum(params.v)) == 0 and bool(jnp.all(jnp.abs(params.v) == 1))
    correlations = np.corrcoef(params.w)
    assert np.abs(correlations - np.eye(60)).max() < 0.8 and abs(float(jnp.std(params.w)) - 1) < 0.05


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("n", "m"), [(48, 96), (8, 96), (96, 16)])
def test_the_first_step_from_a_vanishing_start(slope, n, m, rng):
    """Few samples show the 1 in the formula's 1 + n/m, few neurons the n/m."""
    found = [rank_of(next(trained(slope, n, m, n, 0.3, 1, 1e-8, rng))[0]) for _ in range(40)]
    assert np.mean(found) / formulas.first_step_stable_rank(slope, n, m, n) == pytest.approx(1, abs=0.012)


@SLOPES
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 50.0])
def test_the_first_step_from_a_start_of_any_scale(slope, ratio, rng):
    n, m, d, rate = 48, 96, 192, 0.3
    scale = ratio * formulas.critical_scale(slope, n, m, d, learning_rate=rate)
    found = np.mean([rank_of(next(trained(slope, n, m, d, rate, 1, scale, rng))[0]) for _ in range(6)])
    assert found / formulas.first_step_stable_rank(slope, n, m, d, scale_ratio=ratio) == pytest.approx(1, abs=0.05)


def test_the_critical_scale_is_where_start_and_step_are_equally_large(rng):
    n, m, d, rate, slope = 48, 96, 192, 0.3, 0.2
    scale = formulas.critical_scale(slope, n, m, d, learning_rate=rate)
    step = next(trained(slope, n, m, d, rate, 1, 1e-9, rng))[0]
    assert scale * math.sqrt(m * d) / np.linalg.norm(step) == pytest.approx(1, abs=0.02)


def test_the_two_branches_of_the_first_step_meet():
    """Below the threshold the spike is lost: the largest singular value is that of the noise."""
    n, m, d = 32, 64, 128
    rank = lambda ratio: formulas.first_step_stable_rank(0.3, n, m, d, scale_ratio=ratio)
    ratios = np.linspace(1, 30, 2000)
    assert np.max(np.abs(np.diff([rank(ratio) for ratio in ratios]))) < 0.3
    assert rank(1e6) == pytest.approx(m * d / (math.sqrt(m) + math.sqrt(d)) ** 2)
    assert rank(0.0) == pytest.approx(formulas.stable_rank_path(0.3, n, m, learning_rate=1.0, steps=1).stable_rank[0])


@SLOPES
def test_the_path_is_that_of_training(slope, rng):
    n, m, d, rate, wanted = 32, 128, 32, 4.0, np.array([1, 2, 3, 8, 30, 120])
    runs = list(trained(slope, n, m, d, rate, 120, 1e-9, rng))
    path = formulas.stable_rank_path(slope, n, m, learning_rate=rate, steps=wanted)
    found = [rank_of(runs[step - 1][0]) for step in wanted]
    np.testing.assert_allclose(found, path.stable_rank, rtol=0.015)
    np.testing.assert_allclose([runs[step - 1][1].mean() for step in wanted], path.margin, rtol=0.01)
    # What was added since the first step, by its size in the one direction that only later steps have.
    v, y = np.repeat([1.0, -1.0], m // 2), np.resize([1.0, -1.0], n)
    first, last = runs[0][0], runs[-1][0]
    unit = rate / (2 * n * math.sqrt(m)) * (1 - slope) / 2
    assert np.sum(last[:, :n] - first[:, :n]) / (n * m * unit) == pytest.approx(path.progress[-1], rel=0.01)
    assert v @ (last - first)[:, :n] @ y > 0


@SLOPES
def test_the_path_falls_half_of_the_way_and_ends_at_the_limit(slope):
    many = {"num_samples": 10**7, "width": 10**7, "learning_rate": 1e-3}
    limit = formulas.limit_stable_rank(slope)
    first, second = formulas.stable_rank_path(slope, steps=[1, 2], **many).stable_rank
    assert first == pytest.approx(limit, rel=1e-6) and second - 1 == pytest.approx((limit - 1) / 2, rel=1e-5)
    end = formulas.stable_rank_path(slope, 8, 8, learning_rate=0.1, steps=[20000])
    assert end.stable_rank[0] == pytest.approx(limit, rel=2e-3)
    assert end.margin[0] == pytest.approx(formulas.limit_margin(slope, 8), rel=1e-5)


@SLOPES
def test_the_limit_is_that_of_two_kinds_of_neurons(slope):
    """The solution of the conditions of Karush, Kuhn and Tucker, written down for every neuron."""
    n, m = 6, 8
    v, y = np.repeat([1.0, -1.0], m // 2), np.resize([1.0, -1.0], n)
    w = v[:, None] * np.where(v[:, None] * y > 0, 1, slope) * y
    assert formulas.limit_stable_rank(slope) == pytest.approx(rank_of(w), rel=1e-12)
    values = np.linalg.svd(w, compute_uv=False)
    assert values[1] / values[0] == pytest.approx((1 - slope) / (1 + slope)) and values[2] < 1e-12
    margins = y * (v @ np.where(w >= 0, w, slope * w)) / math.sqrt(m) / np.linalg.norm(w)
    np.testing.assert_allclose(margins, formulas.limit_margin(slope, n), rtol=1e-12)


@SLOPES
def test_no_weights_have_a_larger_margin_than_the_limit(slope, rng):
    n, m = 6, 8
    v, y = np.repeat([1.0, -1.0], m // 2), np.resize([1.0, -1.0], n)
    for _ in range(200):
        z = rng.normal(size=(m, n)) + 2 * v[:, None] * y
        margins = y * (v @ np.where(z >= 0, z, slope * z)) / math.sqrt(m) / np.linalg.norm(z)
        assert margins.mean() <= formulas.limit_margin(slope, n)


def test_the_linear_network_has_rank_one():
    assert formulas.limit_stable_rank(1) == formulas.first_step_stable_rank(1, 4, 6, 5) == 1
    np.testing.assert_allclose(formulas.stable_rank_path(1, 4, 6, learning_rate=1, steps=[1, 9]).stable_rank, 1)


PATH = {"learning_rate": 1.0, "steps": [1]}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("weights", lambda: stable_ranks.stable_rank(np.ones(3))),
        ("weights", lambda: stable_ranks.stable_rank(np.zeros((2, 3)))),
        ("weights", lambda: stable_ranks.stable_rank(np.full((2, 3), np.nan))),
        ("weights", lambda: stable_ranks.normalized_margins(np.ones(2), np.ones(2), np.zeros((2, 2)))),
        ("outputs", lambda: stable_ranks.normalized_margins(np.ones((2, 1)), np.ones(2), np.ones((2, 2)))),
        ("outputs", lambda: stable_ranks.normalized_margins(np.full(2, np.inf), np.ones(2), np.ones((2, 2)))),
        ("y", lambda: stable_ranks.normalized_margins(np.ones(2), np.ones(3), np.ones((2, 2)))),
        ("y", lambda: stable_ranks.normalized_margins(np.ones(2), np.array([0, 1]), np.ones((2, 2)))),
        ("dim", lambda: stable_ranks.independent_two_layer(0, 4, "relu")),
        ("width", lambda: stable_ranks.independent_two_layer(3, 5, "relu")),
        ("width", lambda: stable_ranks.independent_two_layer(3, 4.0, "relu")),
        ("activation", lambda: stable_ranks.independent_two_layer(3, 4, "rel")),
        ("slope", lambda: formulas.limit_stable_rank(0.0)),
        ("slope", lambda: formulas.limit_stable_rank(math.nan)),
        ("slope", lambda: formulas.limit_margin(1.5, 4)),
        ("num_samples", lambda: formulas.limit_margin(0.5, 0)),
        ("slope", lambda: formulas.critical_scale(-0.1, 4, 4, 4, learning_rate=1.0)),
        ("num_samples", lambda: formulas.critical_scale(0.5, 4.0, 4, 4, learning_rate=1.0)),
        ("width", lambda: formulas.critical_scale(0.5, 4, 5, 4, learning_rate=1.0)),
        ("dim", lambda: formulas.critical_scale(0.5, 4, 4, 0, learning_rate=1.0)),
        ("learning_rate", lambda: formulas.critical_scale(0.5, 4, 4, 4, learning_rate=0.0)),
        ("scale_ratio", lambda: formulas.first_step_stable_rank(0.5, 4, 4, 4, scale_ratio=-1.0)),
        ("dim", lambda: formulas.first_step_stable_rank(0.5, 4, 4, 0)),
        ("slope", lambda: formulas.stable_rank_path(0.0, 4, 4, **PATH)),
        ("width", lambda: formulas.stable_rank_path(0.5, 4, 3, **PATH)),
        ("learning_rate", lambda: formulas.stable_rank_path(0.5, 4, 4, learning_rate=-1.0, steps=[1])),
        ("steps", lambda: formulas.stable_rank_path(0.5, 4, 4, learning_rate=1.0, steps=[0])),
        ("steps", lambda: formulas.stable_rank_path(0.5, 4, 4, learning_rate=1.0, steps=[1.5])),
        ("steps", lambda: formulas.stable_rank_path(0.5, 4, 4, learning_rate=1.0, steps=[])),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()


def test_an_odd_number_of_samples_is_fine_and_an_odd_width_is_not():
    assert formulas.first_step_stable_rank(0.5, 3, 4, 4) > 1
    with refused("width"):
        formulas.first_step_stable_rank(0.5, 4, 3, 4)


@pytest.mark.parametrize("steps", [[], [0, 5], [[1, 2]], [1.5], [[]]])
def test_steps_that_are_none(steps):
    with refused("steps"):
        formulas.stable_rank_path(0.5, 4, 4, learning_rate=0.1, steps=steps)


@pytest.mark.parametrize("slope", [-0.1, 1.5])
def test_slopes_that_no_leaky_relu_has(slope):
    for call in (
        lambda: formulas.first_step_stable_rank(slope, 4, 4, 4),
        lambda: formulas.critical_scale(slope, 4, 4, 4, learning_rate=0.1),
        lambda: formulas.stable_rank_path(slope, 4, 4, learning_rate=0.1, steps=[1]),
    ):
        with refused("slope"):
            call()
