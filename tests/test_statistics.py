import earlytime as et
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused


def test_interval_is_students_t():
    values = np.array([0.3, 1.0, -0.4, 0.8, 0.2])
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(et.statistics.confidence_interval(values), expected, rtol=1e-12)
    assert et.statistics.confidence_interval([2.0]) == (-np.inf, np.inf)


def test_numbers_in_float32_are_summed_in_float64():
    values = np.array([2.0**24, 3.0, 5.0, 8.0], dtype=np.float32)
    interval = et.statistics.confidence_interval(values)
    assert interval == et.statistics.confidence_interval(values.astype(float))
    sizes = np.array([3, 5, 9], dtype=np.float32)
    laws = [
        et.fit_power_law(sizes.astype(dtype), np.exp(values[None, 1:]).astype(dtype)) for dtype in (float, np.float32)
    ]
    np.testing.assert_allclose(laws[1].exponent, laws[0].exponent, rtol=3e-7)
    assert laws[1].per_seed.dtype == np.float64


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [[1.0], [2.0]], 1.0, [1.0, np.nan]])
def test_bad_values_are_named(values):
    with refused("values"):
        et.statistics.confidence_interval(np.array(values))


def test_interval_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(0)
    intervals = [et.statistics.confidence_interval(rng.normal(size=5)) for _ in range(2000)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.935 < covered < 0.965


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 10))
def test_an_exact_power_law_is_found(exponent, prefactor):
    sizes = np.array([8, 16, 32, 100])
    law = et.fit_power_law(sizes, prefactor * sizes ** np.full((3, 1), exponent))
    np.testing.assert_allclose([law.exponent, *law.interval], exponent, atol=1e-9)
    np.testing.assert_allclose(law.prefactor, prefactor, rtol=1e-9)


def test_exponent_and_interval_are_those_of_the_seeds():
    sizes, rng = np.array([10, 20, 40]), np.random.default_rng(1)
    values = sizes**-0.5 * np.exp(rng.normal(scale=0.1, size=(5, 3)))
    law = et.fit_power_law(sizes, values)
    slopes = [scipy.stats.linregress(np.log(sizes), np.log(row)).slope for row in values]
    np.testing.assert_allclose(law.per_seed, slopes, rtol=1e-10)
    np.testing.assert_allclose(law.exponent, np.mean(slopes), rtol=1e-10)
    np.testing.assert_allclose(law.interval, et.statistics.confidence_interval(slopes), rtol=1e-10)


@pytest.mark.parametrize(
    "name, sizes, values",
    [
        ("sizes", [3], [[1.0]]),
        ("sizes", [3, 3], [[1.0, 2.0]]),
        ("sizes", [0, 3], [[1.0, 2.0]]),
        ("values", [1, 3], [1.0, 2.0]),
        ("values", [1, 3], [[1.0, -2.0]]),
        ("values", [1, 3], [[1.0, np.nan]]),
    ],
)
def test_bad_power_laws_are_named(name, sizes, values):
    with refused(name):
        et.fit_power_law(sizes, values)


def test_logarithms_are_of_float64():
    sizes, values = np.array([1, 2, 4], np.float32), np.array([[3, 7, 11]], np.float32)
    exact = et.fit_power_law(sizes.astype(float), values.astype(float))
    for few, many in ((sizes, values.astype(float)), (sizes.astype(float), values), (sizes, values)):
        assert abs(et.fit_power_law(few, many).exponent - exact.exponent) < 1e-12
