"""What is left per eigenvalue: at the edges between its formulas, and where eigenvalues are rounding."""

import numpy as np
from earlytime import _decay


def test_steps_at_any_rate_are_a_power():
    rate, steps = np.array([0.0, 1e-9, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5]), np.arange(6.0)[:, None]
    np.testing.assert_allclose(_decay.learned_in_steps(np, rate, steps), 1 - (1 - rate) ** steps, atol=1e-15)


def test_what_rounding_hides_is_a_limit_until_it_would_show():
    """The floor is 1e-16, and 1e-16 · t reaches √1e-16 at t = 1e8."""
    found = _decay.gain(1.0, np.array([0.0, 1e-17, 1.0]), [0, 1, 10**7, 10**9], rounding=1e-16)
    np.testing.assert_allclose(found, [[0, 0, 0], [1, 1, 1], [1e7, 1e7, 1], [0, 0, 1]])


def test_limits_that_are_infinite_are_no_error():
    for largest in (0.0, 1e-310):
        assert _decay.stable_limit(2, np.float64(largest)) == np.inf  # warnings are errors here
    assert np.isinf(_decay.gain(3.0, np.array([1.0]), 10**6, rounding=1e-16)).all()
