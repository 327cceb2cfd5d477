"""Kernels and features whose spectra run into rounding: the number of the float64 computation, or a warning."""

import importlib.util
import warnings

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

N, TIMES = 24, (0.1, 30.0, 3e3, 1e8, np.inf)
X, X_NEW = np.linspace(-1, 1, N), np.array([-0.93, 0.1, 0.77])
Y = np.sin(3 * X) + np.sign(X)
gaussian = lambda a, b: np.exp(-((a[:, None] - b) ** 2) / 0.5)
KERNEL, KERNEL_NEW = gaussian(X, X), gaussian(X_NEW, X)  # eigenvalues from 12 down to 1e-16


def coefficients(kernel, time):
    """α of f = Θα: α' = (y - Θα)/n, by the matrix exponential and without any division."""
    generator = np.block([[-kernel / N, Y[:, None] / N], [np.zeros((1, N + 1))]])
    return scipy.linalg.expm(time * generator)[:N, N]


@pytest.mark.parametrize("time", TIMES[:3])
def test_float64_is_the_flow_itself(time):
    dynamics, alpha = et.kernel_dynamics(KERNEL, Y, learning_rate=1.0), coefficients(KERNEL, time)
    np.testing.assert_allclose(dynamics.predict(time=time), KERNEL @ alpha, atol=1e-8)
    np.testing.assert_allclose(dynamics.predict(time=time, kernel_new=KERNEL_NEW), KERNEL_NEW @ alpha, atol=1e-7)
    np.testing.assert_allclose(dynamics.transfer(KERNEL_NEW, time=time) @ Y, KERNEL_NEW @ alpha, atol=1e-7)


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_float32_is_right_or_says_how_far_it_may_be_off(momentum, x64):
    single, new = KERNEL.astype(np.float32), KERNEL_NEW.astype(np.float32)
    exact = et.kernel_dynamics(KERNEL, Y, learning_rate=0.5, momentum=momentum)
    warned = []
    for time in TIMES:
        with jax.enable_x64(x64), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dynamics = et.kernel_dynamics(single, Y.astype(np.float32), learning_rate=0.5, momentum=momentum)
            found, found_new = dynamics.predict(time=time), dynamics.predict(time=time, kernel_new=new)
        assert found.dtype == jnp.float32 and np.abs(found_new).max() < 3
        share = float(str(caught[0].message).split()[1]) if caught else 0.01
        warned.append(bool(caught))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in the end float64 has to warn, too
            error = np.linalg.norm(np.asarray(found) - np.asarray(exact.predict(time=time)))
        assert error <= 1.05 * share * np.linalg.norm(Y)
        if not caught:
            np.testing.assert_allclose(found_new, exact.predict(time=time, kernel_new=KERNEL_NEW), atol=0.02)
    assert warned == [False, False, *warned[2:3], True, True]


def test_the_warning_names_the_kernel_and_float64_needs_none_where_float32_does():
    with pytest.warns(
        UserWarning, match=r"^kernel: 0\.\d+ of what is to be learned .* below .* pass a kernel in float64"
    ):
        et.kernel_dynamics(KERNEL.astype(np.float32), Y, learning_rate=1.0).predict(time=1e6)
    et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(time=1e6)  # warnings are errors here


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_traced_float32_stays_bounded(momentum):
    @jax.jit
    def solve(kernel, new, y, time):
        dynamics = et.kernel_dynamics(kernel, y, learning_rate=0.5, momentum=momentum)
        return dynamics.predict(time=time), dynamics.predict(time=time, kernel_new=new), dynamics.condition_number

    given = (part.astype(np.float32) for part in (KERNEL, KERNEL_NEW, Y))
    on_train, new, condition = solve(*given, jnp.asarray(TIMES, jnp.float32))
    exact = et.kernel_dynamics(KERNEL, Y, learning_rate=0.5, momentum=momentum)
    np.testing.assert_allclose(on_train[:2], exact.predict(time=TIMES[:2]), atol=2e-3)
    np.testing.assert_allclose(new[:2], exact.predict(time=TIMES[:2], kernel_new=KERNEL_NEW), atol=2e-3)
    assert np.abs(on_train).max() < 3 and np.abs(new).max() < 3 and 1e4 < condition < 1e7


def test_condition_numbers_end_at_rounding():
    solve = lambda kernel: et.kernel_dynamics(kernel, np.ones(len(kernel)), learning_rate=1.0)
    np.testing.assert_allclose(solve(np.diag([4.0, 1.0])).condition_number, 4)
    np.testing.assert_allclose(solve(np.diag([1.0, 0.0]).astype(np.float32)).condition_number, 2.0**22)
    for top in (0.25, 1.0, 4.0):  # below 0 by 1e-9, so that this much is rounding
        for rest in ([-1e-9], [-1e-9, -1e-9]):
            np.testing.assert_allclose(solve(np.diag([top, *rest])).condition_number, top * 1e9)
    # What is no larger than the eigenvalue below 0 is rounding, too.
    kernel = np.diag([1.0, 1e-9, -2e-9])
    found = et.kernel_dynamics(kernel, np.ones(3), learning_rate=1.0).predict(
        time=[1.0, np.inf], kernel_new=np.ones((1, 3))
    )
    np.testing.assert_allclose(found[:, 0], [1 - np.exp(-1 / 3) + 2 / 3, 1.0], rtol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("x64", [True, False])
def test_networks_of_one_input_are_least_squares(x64, momentum):
    """Without biases ReLU networks of one input are a x for x > 0 and b x elsewhere: a kernel of rank 2."""
    from earlytime import infinite_width

    x = np.linspace(-30, 30, 100, dtype=np.float32)[:, None]
    x_new, y = np.array([[-30.0], [7.5]], np.float32), np.sin(x[:, 0])
    kernels = infinite_width.fully_connected("relu", depth=2)
    features = lambda x: np.hstack([np.maximum(x, 0), np.minimum(x, 0)]).astype(float)
    weights = np.linalg.lstsq(features(x), y.astype(float), rcond=None)[0]
    with jax.enable_x64(x64):
        process = et.gaussian_processes.training_process(
            kernels, x, y, x_new, learning_rate=lambda limit: limit / 2, momentum=momentum
        )
        found = process.at(time=np.array([1e4, 1e6, np.inf]))
        found_new = process.dynamics.predict(time=1e6, kernel_new=kernels(x_new, x).ntk)
        kernel = kernels(x).ntk  # of float32 inputs, where ReLU's closed form in float32 would lose half of its digits
    assert found.mean.dtype == kernel.dtype == jnp.float32
    np.testing.assert_allclose(found.mean, np.tile(features(x_new) @ weights, (3, 1)), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.zeros((3, 2, 2)), atol=1e-3)
    np.testing.assert_allclose(found_new, features(x_new) @ weights, atol=1e-4)
    same = x * x.T > 0  # each layer halves K of inputs of one sign, and so Θ: K/4 + (K/2 + K/2)/2
    np.testing.assert_allclose(kernel[same], 3 / 4 * (x * x.T)[same], rtol=1e-6)


def test_linear_models_of_nearly_equal_features():
    rng = np.random.default_rng(0)
    psi = (rng.normal(size=(40, 1)) + 1e-3 * rng.normal(size=(40, 4))).astype(np.float32)
    y, steps = rng.normal(size=40), [10, 10**6, 10**9]
    u, s, v = np.linalg.svd(psi.astype(float), full_matrices=False)
    rate = 40 / s[0] ** 2
    gain = [-np.expm1(t * np.log1p(-np.minimum(rate * s**2 / 40, 1 - 1e-15))) / s for t in steps]
    with jax.enable_x64(False):
        model = et.linear_model(lambda x: x, psi, y.astype(np.float32), learning_rate=rate)
        found, limit = model.predict(psi, steps), model.predict_limit(psi)
        traced = jax.jit(lambda psi, y: et.linear_model(lambda x: x, psi, y, learning_rate=rate).predict(psi, steps))
        late = traced(np.repeat(psi, 2, axis=1), y.astype(np.float32))  # every feature twice
    np.testing.assert_allclose(found, gain * s * (u.T @ y) @ u.T, atol=1e-5)
    np.testing.assert_allclose(limit, u @ (u.T @ y), atol=1e-5)
    assert np.linalg.norm(late, axis=1).max() < np.linalg.norm(y)
