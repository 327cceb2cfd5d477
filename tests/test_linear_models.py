import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

DIM = 5
X = np.asarray(et.sample_inputs(jax.random.key(0), 12, DIM, spectrum=np.linspace(0.2, 1.8, DIM), rotate=True))
X_NEW = np.asarray(et.sample_inputs(jax.random.key(1), 4, DIM))
Y = np.random.default_rng(0).normal(size=12)
TRACE = float(np.sum(np.linspace(0.2, 1.8, DIM) ** 2))
SOFTPLUS = et.gaussian_moments("softplus")


def features(trained):
    return et.early_time_features(SOFTPLUS, trained=trained, dim=DIM, trace_sigma_squared=TRACE)


def explicit(psi, y, learning_rate, steps):
    """Gradient descent, one step at a time."""
    beta = np.zeros(psi.shape[1])
    recorded = {}
    for step in range(max(steps) + 1):
        recorded[step] = beta
        beta = beta - learning_rate / len(y) * psi.T @ (psi @ beta - y)
    return np.stack([recorded[step] for step in steps])


@pytest.mark.parametrize("trained", ["first", "second", "both"])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.6, 0.95])  # of the stable limit: r on both sides of 1/2 and 1
def test_predictions_are_explicit_iteration(trained, fraction):
    steps = [0, 1, 10, 1000]
    psi, psi_new = (np.asarray(features(trained)(x)) for x in (X, X_NEW))
    learning_rate = fraction * 2 / np.linalg.eigvalsh(psi.T @ psi / 12)[-1]
    model = et.linear_model(features(trained), X, Y, learning_rate=learning_rate)
    beta = explicit(psi, Y, learning_rate, steps)
    np.testing.assert_allclose(model.predict(X, steps), beta @ psi.T, atol=1e-6)
    np.testing.assert_allclose(model.predict(X_NEW, steps), beta @ psi_new.T, atol=1e-6)
    np.testing.assert_allclose(model.predict(X_NEW, 10), (beta @ psi_new.T)[2], atol=1e-6)
    assert abs(float(model.stable_learning_rate) * fraction - learning_rate) < 1e-9


def test_the_limit_is_least_squares():
    model = et.linear_model(features("first"), X, Y, learning_rate=0.5)
    psi = np.asarray(features("first")(X))
    fit = psi @ np.linalg.lstsq(psi, Y, rcond=None)[0]
    np.testing.assert_allclose(model.predict_limit(X), fit, atol=1e-8)
    np.testing.assert_allclose(model.predict(X, 10**7), fit, atol=1e-6)


def test_the_limit_is_the_same_where_the_model_is_an_argument_of_a_jitted_function():
    model = et.linear_model(features("first"), X, Y, learning_rate=0.5)
    limit = jax.jit(lambda model, x: model.predict_limit(x))(model, X_NEW)
    np.testing.assert_allclose(limit, model.predict_limit(X_NEW), rtol=1e-6)


def test_directions_that_no_sample_has_are_never_learned():
    flat = X.copy()
    flat[:, 0] = 0
    model = et.linear_model(lambda x: x, flat, Y, learning_rate=0.1)
    assert np.all(np.isfinite(model.predict(X_NEW, [0, 5, 10**6])))
    np.testing.assert_allclose(model.coefficients(10**6)[0], 0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_that_depend_on_each_other_end_in_the_smallest_fit(dtype):
    u, v, w = np.random.default_rng(1).normal(size=(3, 9, 1)).astype(dtype)
    sums = ((v + w + 30) - 30, (v - 2 * w + 30) - 30, (3 * v + w + 30) - 30)  # rounded to 1e-6 in single precision
    x, y = np.concatenate([u, v, w, *sums, 0 * u], axis=1), np.random.default_rng(2).normal(size=9).astype(dtype)
    model = et.linear_model(lambda x: x, x, y, learning_rate=lambda limit: limit / 2)
    fit = x.astype(float) @ np.linalg.lstsq(x.astype(float), y.astype(float), rcond=1e-6)[0]
    traced = jax.jit(lambda y: et.linear_model(lambda x: x, x, y, learning_rate=0.1).predict_limit(x))(y)
    tolerance = {np.float32: 1e-4, np.float64: 1e-7}[dtype]
    for found in (model.predict_limit(x), traced):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, fit, rtol=tolerance, atol=tolerance)
    nothing = et.linear_model(lambda x: 0 * x, x, y, learning_rate=1.0)
    assert np.all(nothing.predict_limit(x) == 0) and np.all(nothing.predict(x, [1, 10**6]) == 0)


def test_small_directions_of_features_in_single_precision_are_learned():
    """λ is 1e-8 of the largest: below ε of float32, but the features themselves have it."""
    x = (np.random.default_rng(1).normal(size=(9, 2)) * [1.0, 1e-4]).astype(np.float32)
    y = (1e4 * x[:, 1]).astype(np.float32)
    model = et.linear_model(lambda x: x, x, y, learning_rate=lambda limit: limit / 2)
    np.testing.assert_allclose(model.predict_limit(x), y, rtol=1e-3)
    assert np.all(np.abs(model.coefficients(10**10) - np.array([0.0, 1e4])) < 10)


def test_a_start_and_several_outputs_are_the_same_under_jit():
    y, start = np.stack([Y, 2 * Y], axis=1), lambda x: jnp.stack([jnp.sum(x, axis=1), jnp.sum(x**2, axis=1)], axis=1)
    run = lambda y: et.linear_model(lambda x: 2 * x, X, y, learning_rate=0.1, start=start)
    model = run(y)
    for predict in (lambda m: m.predict(X_NEW, [0, 3, 300]), lambda m: m.predict_limit(X_NEW)):
        np.testing.assert_allclose(jax.jit(lambda y: predict(run(y)))(y), predict(model), rtol=1e-6)
    np.testing.assert_allclose(model.predict(X_NEW, 0), start(X_NEW))
    rest = np.linalg.lstsq(X, y - np.asarray(start(X)), rcond=None)[0]
    np.testing.assert_allclose(model.predict_limit(X_NEW), start(X_NEW) + X_NEW @ rest, rtol=1e-6)
    early = et.early_time_model(SOFTPLUS, X, y, trained="both", learning_rate=0.3, start=start)
    np.testing.assert_allclose(early.predict(X_NEW, 0), start(X_NEW))


def test_a_rate_of_exactly_one():
    model = et.linear_model(lambda x: x, np.eye(2) * np.sqrt(2), np.array([1.0, 2.0]), learning_rate=1.0)
    np.testing.assert_allclose(model.predict(np.eye(2) * np.sqrt(2), [0, 1, 2]), [[0, 0], [1, 2], [1, 2]], atol=1e-12)


@pytest.mark.parametrize("trained", ["first", "both"])
def test_duplicating_every_sample_changes_nothing(trained):
    once = et.linear_model(features(trained), X, Y, learning_rate=1.0)
    twice = et.linear_model(features(trained), np.tile(X, (2, 1)), np.tile(Y, 2), learning_rate=1.0)
    np.testing.assert_allclose(once.predict(X_NEW, [1, 7, 100]), twice.predict(X_NEW, [1, 7, 100]), rtol=1e-9)


def test_predictions_under_jit_vmap_and_float32():
    @jax.jit
    @jax.vmap
    def run(y):
        trace = et.estimate_trace_sigma_squared(X)
        psi = et.early_time_features(SOFTPLUS, trained="both", dim=DIM, trace_sigma_squared=trace)
        return et.linear_model(psi, X, y, learning_rate=0.3).predict(X_NEW, (0, 3, 300))

    with jax.numpy_dtype_promotion("standard"):  # single precision labels of double precision inputs
        single = run(jnp.stack([Y, -Y]).astype(jnp.float32))
    np.testing.assert_allclose(single[0], -single[1], atol=1e-6)
    assert single.shape == (2, 3, 4)


@pytest.mark.parametrize("trained", ["first", "second", "both"])
def test_the_early_time_model_is_its_three_steps(trained):
    trace = et.estimate_trace_sigma_squared(X)
    psi = et.early_time_features(SOFTPLUS, trained=trained, dim=DIM, trace_sigma_squared=trace)
    expected = et.linear_model(psi, X, Y, learning_rate=0.3)
    model = et.early_time_model(SOFTPLUS, X, Y, trained=trained, learning_rate=0.3)
    assert model.features == psi and model.learning_rate == 0.3
    np.testing.assert_array_equal(model.predict(X_NEW, [0, 3, 300]), expected.predict(X_NEW, [0, 3, 300]))


@pytest.mark.parametrize(
    "name, call",
    [
        ("y", lambda: et.linear_model(features("first"), X, Y[:-1], learning_rate=1.0)),
        ("x", lambda: et.linear_model(features("first"), X * np.inf, Y, learning_rate=1.0)),
        ("y", lambda: et.linear_model(features("first"), X, Y * np.nan, learning_rate=1.0)),
        ("learning_rate", lambda: et.linear_model(features("first"), X, Y, learning_rate=-1.0)),
        ("steps", lambda: et.linear_model(features("first"), X, Y, learning_rate=1.0).predict(X, -1)),
        ("steps", lambda: et.linear_model(features("first"), X, Y, learning_rate=1.0).predict(X, [0.5])),
        ("steps", lambda: et.linear_model(features("first"), X, Y, learning_rate=1.0).predict(X, [-1, 3])),
        ("steps", lambda: et.linear_model(features("first"), X, Y, learning_rate=1.0).predict(X, [])),
        ("trained", lambda: et.early_time_model(SOFTPLUS, X, Y, trained="third", learning_rate=1.0)),
        ("x", lambda: et.early_time_model(SOFTPLUS, X[:1], Y[:1], trained="both", learning_rate=1.0)),
    ],
)
def test_bad_arguments_are_named(name, call):
    with np.errstate(all="ignore"), refused(name):
        call()


def test_features_that_mix_samples_are_refused():
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.ones(6)
    with refused("features", saying="training inputs"):
        et.linear_model(lambda x: x - x.mean(axis=0, keepdims=True), x, y, learning_rate=0.1)
    for scale in (1.0, 1e-9):
        first = lambda x: scale * np.concatenate([x[:, :1] - x[:, :1].mean(axis=0, keepdims=True), x[:, 1:]], axis=1)
        with refused("features", saying="training inputs"):
            et.linear_model(first, x[:2], y[:2], learning_rate=0.1)
    rounded = lambda x: np.concatenate([0 * x[:, :1], (1 + 1e-12 * len(x)) * x], axis=1)  # sums in another order
    assert et.linear_model(rounded, x, y, learning_rate=0.1).predict(x, 1).shape == (6,)
    mean = x.mean(axis=0, keepdims=True)
    assert et.linear_model(lambda x: x - mean, x, y, learning_rate=0.1).predict(x, 1).shape == (6,)
