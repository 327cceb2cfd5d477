"""The sizes, rates and lengths of the theorems' pages, against the papers' formulas."""

import math

import earlytime as et
import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

ERF, RELU = et.gaussian_moments("erf"), et.gaussian_moments("relu")
dims = st.integers(2, 10**5)


@given(dims)
def test_sizes_are_at_the_edge_and_the_width_is_even(dim):
    num_samples, width = et.scaling.edge_sizes(dim)
    edge = math.sqrt(math.sqrt(dim)) * dim
    assert abs(num_samples - edge) <= 0.5 + 1e-9 * edge
    assert width % 2 == 0 and abs(width - 4 * edge) <= 1 + 1e-9 * edge


def test_the_learning_rate_grows_with_d_only_where_theta0_vanishes():
    rate = lambda moments, dim: et.scaling.learning_rate(moments, dim, per_dim=0.05, otherwise=0.5)
    assert [rate(ERF, dim) for dim in (16, 128)] == [0.05 * 16, 0.05 * 128]
    assert [rate(RELU, dim) for dim in (16, 128)] == [0.5, 0.5]
    assert rate(RELU._replace(theta0=0.0), 16) == rate(ERF, 16)


@pytest.mark.parametrize("phi", ["erf", "relu"])
def test_a_rate_that_is_stable_at_one_dimension_is_stable_at_all(phi):
    """That is what the rule is for: the stable limit of the linear model follows it."""
    moments, shares = et.gaussian_moments(phi), []
    for dim in (8, 32, 128):
        task = et.sample_task(jax.random.key(dim), et.scaling.edge_sizes(dim).num_samples, 1, dim)
        rate = et.scaling.learning_rate(moments, dim, per_dim=0.05, otherwise=0.5)
        model = et.early_time_model(moments, task.x, task.y, trained="second", learning_rate=rate)
        shares.append(rate / float(model.stable_learning_rate))
    assert max(shares) < 1.5 * min(shares) < 0.5


@given(dims, dims, st.floats(1e-3, 10.0))
def test_num_steps_ends_at_the_logarithm_of_the_dimension(dim, other, rate):
    own = et.scaling.num_steps(dim, learning_rate=rate)
    assert own == et.scaling.num_steps(dim, learning_rate=rate, same_time_as=dim)
    common = et.scaling.num_steps(dim, learning_rate=rate, same_time_as=other)
    for steps, logarithm in ((own, math.log(dim)), (common, math.log(other))):
        assert steps >= 1
        assert steps == 1 or abs(steps * rate / dim - logarithm) <= (0.5 + 1e-6) * rate / dim + 1e-9
    assert (common <= own) == (other <= dim) or common == own


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("dim", lambda: et.scaling.edge_sizes(0)),
        ("dim", lambda: et.scaling.edge_sizes(16.0)),
        ("dim", lambda: et.scaling.learning_rate(ERF, 0, per_dim=0.05, otherwise=0.5)),
        ("per_dim", lambda: et.scaling.learning_rate(RELU, 8, per_dim=0.0, otherwise=0.5)),
        ("otherwise", lambda: et.scaling.learning_rate(ERF, 8, per_dim=0.05, otherwise=math.inf)),
        ("dim", lambda: et.scaling.num_steps(0, learning_rate=1.0)),
        ("same_time_as", lambda: et.scaling.num_steps(8, learning_rate=1.0, same_time_as=0)),
        ("learning_rate", lambda: et.scaling.num_steps(8, learning_rate=0.0)),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()
