"""What a diagnosis is asked, and the sizes of its subsamples: each from its own rule, without any training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime._arrays import host_random
from earlytime._diagnosis_paths import Path, _over, _rounded, find_escape, trained_states
from earlytime._diagnosis_problem import _kernel_sizes, all_starts, check_all, make_problem
from earlytime._diagnosis_runs import Clock
from earlytime.gradient_descent import train
from earlytime.trajectories import log_spaced_steps
from refusals import refused

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    "asked, sizes",
    [
        ((1000, 1, 100, 1e12), (256, 256)),
        ((30, 1, 100, 1e12), (30, 30)),
        ((1000, 1, 1000, 8 * 1000 * 50), (50, 50)),  # a Jacobian and its transpose in four bytes
        ((1000, 1, 10**7, 1e12), (100, 14)),  # 1e9 entries, of one kernel and of seven
        ((1000, 10, 10**6, 1e12), (100, 47)),  # of ten outputs, and of three of them on the way
        ((1000, 2, 10**7, 1e12), (50, 8)),
        ((1000, 1, 10**9, 1e12), (8, 8)),  # never fewer than 8
        ((5, 1, 10**9, 1e12), (5, 5)),
    ],
)
def test_samples_of_kernels_are_as_many_as_memory_and_patience_allow(asked, sizes):
    assert _kernel_sizes(*asked) == sizes


def problem(n=30, d=5, k=None, **changes):
    x = np.random.default_rng(0).normal(size=(n, d))
    asked = {
        "apply_fn": lambda params, x: x @ params,
        "loss": "squared",
        "x": x,
        "y": np.zeros(n),
        "features": None,
        "outputs": (n,) if k is None else (n, k),
        "num_parameters": 10,
        "num_steps": 300,
        "optimizer": None,
        "batch_size": None,
        "tolerances": [0.1, 0.3],
        "memory": 1e9,
        "key": KEY,
    }
    return make_problem(**asked | changes)


@pytest.mark.parametrize("n, d, chosen", [(30, 5, 30), (6000, 5, 1024), (6000, 200, 2000), (6000, 500, 4096)])
def test_samples_that_are_measured_are_ten_for_each_input(n, d, chosen):
    found = problem(n, d)
    np.testing.assert_array_equal(found.chosen, host_random(KEY, 0).permutation(n)[:chosen])
    assert found.num_first == min(1024, chosen)
    assert (found.num_kernel, found.num_turn) == (min(256, chosen),) * 2


def test_a_problem_has_what_it_was_given():
    found = problem()
    assert found.steps == log_spaced_steps(300, 16) and found.tolerances.tolist() == [0.1, 0.3]
    assert [problem(batch_size=size).batch_size for size in (None, 10, 30, 31)] == [None, 10, None, None]
    images = np.random.default_rng(1).normal(size=(30, 2, 3))
    assert problem(x=images).features.shape == (30, 6)
    assert problem(x=images, features=lambda x: x[:, 0]).features.shape == (30, 3)
    for features in (lambda x: x[:5], lambda x: x[:, 0], lambda x: x[:, :, None]):
        with refused("features"):
            problem(features=features)
    assert problem(k=10, num_parameters=10**6, n=300, memory=1e12).num_turn == 47


def test_of_many_outputs_three_combinations_are_followed():
    few, many = problem(k=3), problem(k=10)
    assert few.turning_fn is few.apply_fn
    params = jnp.asarray(np.random.default_rng(1).normal(size=(5, 10)), jnp.float32)
    x = jnp.ones((4, 5), jnp.float32)
    combinations = np.linalg.qr(host_random(KEY, 7).normal(size=(10, 3)))[0]
    np.testing.assert_allclose(many.turning_fn(params, x), x @ params @ combinations.astype(np.float32), rtol=1e-5)


def test_starts_are_those_given():
    params, other = {"w": np.ones(3)}, {"w": np.zeros(3)}
    assert all_starts(params, None, None) == [(params, None)]
    assert all_starts(params, [other], None) == [(params, None), (other, None)]
    ((start, run),) = all_starts(params, None, {5: params, 0: other, 2: other})
    assert start is other and list(run.items()) == [(2, other), (5, params)]
    ((start, run),) = all_starts(params, None, {1: other})
    assert start is params and list(run) == [1]
    with refused("inits"):
        all_starts(params, [other], {1: other})
    for wrong in ({0: params}, {}, {-1: params}, {1: {"w": np.ones(2)}}, {1: {"w": np.arange(3)}}):
        with refused("checkpoints"):
            all_starts(params, None, wrong)


def test_what_cannot_be_diagnosed():
    x, asked = np.random.default_rng(0).normal(size=(8, 3)), (None, 300, None, 1e9)
    check = lambda x, y, optimizer, *rest: check_all(lambda w, x: x @ w, jnp.ones(3), x, y, "squared", optimizer, *rest)
    assert check(x, x[:, 0], *asked) == (8,)
    for name, given in {
        "x": (x[:7], x[:7, 0], *asked),
        "y": (x, x[:, :2], *asked),
        "num_steps": (x, x[:, 0], None, 0, None, 1e9),
        "batch_size": (x, x[:, 0], None, 300, 0, 1e9),
        "memory": (x, x[:, 0], None, 300, None, 0.0),
    }.items():
        with refused(name):
            check(*given)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_run_that_is_followed_is_that_of_training(batch_size):
    """In batches with the problem's own key, and until it diverges."""
    given, start = problem(num_steps=5, batch_size=batch_size, y=np.arange(30.0)), jnp.ones(5)
    batches = {} if batch_size is None else {"batch_size": batch_size, "key": KEY}
    states = list(trained_states(given, start, 0.1))
    assert [step for step, _ in states] == list(given.steps[1:])
    for step, params in states:
        run = train(
            given.apply_fn, start, given.x, given.y, learning_rate=0.1, num_steps=step, record_steps=(step,), **batches
        )
        np.testing.assert_allclose(params, run.params, rtol=1e-12)
    assert list(trained_states(given, jnp.full(5, 1e200), 0.1)) == []  # the loss is infinite from the start


def test_a_loss_that_does_not_fall_has_no_share():
    nothing = np.full(3, np.nan)
    fields = dict.fromkeys(Path._fields, nothing) | {"steps": np.array([0, 1, 2]), "turn_floor": 0.0}
    path = Path(**fields | {"remainder": np.array([np.nan, 0.1, 0.4]), "loss": np.ones(3)})
    assert np.isnan(find_escape(path, 0.2).share) and np.isnan(find_escape(path, 0.9).share)
    small = path._replace(loss=np.array([1.0, 0.9, 0.8]))
    assert find_escape(small, 0.2).share == pytest.approx(0.75) and find_escape(small, 0.9).share == 1.0


def test_rounding_moves_every_weight_by_its_last_digit():
    leaves = [jnp.asarray([1.0, -2.0, 0.5] * 20, jnp.float32), jnp.ones((3, 4))]
    for leaf, moved in zip(leaves, _rounded(leaves, KEY), strict=True):
        assert moved.dtype == leaf.dtype
        steps = (np.asarray(moved, float) / np.asarray(leaf, float) - 1) / float(jnp.finfo(leaf.dtype).eps)
        assert set(np.round(steps.ravel())) <= {-1.0, 0.0, 1.0} and {-1.0, 1.0} <= set(np.round(steps.ravel()))
        assert np.abs(np.abs(steps) - 1).max() < 1e-6


def test_a_share_of_nothing_is_none():
    assert _over(1.0, 0.25) == 4.0 and np.isnan(_over(1.0, 0.0)) and np.isnan(_over(0.0, 0.0))


def test_a_clock_adds_up():
    clock = Clock()
    for _ in range(2):
        with clock("part"):
            sum(range(100_000))
    once = clock.seconds["part"]
    with clock("part"):
        sum(range(100_000))
    assert 0 < once < clock.seconds["part"] < 0.9
