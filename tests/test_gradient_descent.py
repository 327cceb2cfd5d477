import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from earlytime import gradient_descent
from refusals import refused
from two_devices import TwoDevices

N, D, M = 13, 4, 6
X = np.asarray(et.sample_inputs(jax.random.key(0), N, D))
Y = np.random.default_rng(0).normal(size=N)
X_TEST = np.asarray(et.sample_inputs(jax.random.key(1), 5, D))
Y_TEST = np.ones(5)
NETWORK = et.two_layer(D, M, "erf")
PARAMS = NETWORK.init(jax.random.key(2))


def numpy_run(rate_w, rate_v, num_steps, x=X, y=Y):
    """The same network and gradient in plain numpy, with the derivatives written out."""
    w, v = np.array(PARAMS.w), np.array(PARAMS.v)
    outputs, losses, weights = [], [], []
    for _ in range(num_steps + 1):
        z = x @ w.T / np.sqrt(D)
        hidden, slope = scipy.special.erf(z), 2 / np.sqrt(np.pi) * np.exp(-(z**2))
        f = hidden @ v / np.sqrt(M)
        outputs.append(f)
        losses.append(np.sum((f - y) ** 2) / (2 * len(y)))
        weights.append((w, v))
        error = (f - y) / len(y)
        gradient_w = ((error[:, None] * slope * v).T @ x) / np.sqrt(M * D)
        gradient_v = error @ hidden / np.sqrt(M)
        w, v = w - rate_w * gradient_w, v - rate_v * gradient_v
    return np.array(outputs), np.array(losses), weights


def run(**changes):
    arguments = dict(learning_rate=0.7, num_steps=40, record_steps=(0, 1, 7, 40)) | changes
    return et.train(NETWORK.apply, PARAMS, X, Y, **arguments)


@pytest.mark.parametrize("rates", [(0.7, 0.7), (0.7, 0.0), (0.0, 0.7), (0.3, 1.1)])
@pytest.mark.parametrize("block_size", [2048, 5, 1])
def test_training_is_the_plain_loop(rates, block_size):
    trajectory = run(learning_rate=et.TwoLayerParams(*rates), block_size=block_size)
    outputs, losses, weights = numpy_run(*rates, 40)
    steps = list(trajectory.steps)
    assert steps == [0, 1, 7, 40]
    np.testing.assert_allclose(trajectory.train_outputs, outputs[steps], atol=1e-10)
    np.testing.assert_allclose(trajectory.train_loss, losses[steps], rtol=1e-10)
    np.testing.assert_allclose(trajectory.params.w, weights[-1][0], atol=1e-10)
    np.testing.assert_allclose(trajectory.params.v, weights[-1][1], atol=1e-10)
    assert trajectory.diverged_at == -1 and np.isnan(trajectory.stable_learning_rate.w)


def test_steps_after_the_last_record_are_taken():
    short, long = run(record_steps=(0, 3)), run()
    np.testing.assert_allclose(short.params.w, long.params.w, rtol=1e-12)


def test_a_frozen_layer_stays_to_the_bit():
    trajectory = run(learning_rate=et.TwoLayerParams(w=1.0, v=0.0))
    np.testing.assert_array_equal(trajectory.params.v, PARAMS.v)
    assert np.abs(np.asarray(trajectory.params.w - PARAMS.w)).max() > 1e-3


@pytest.mark.parametrize("block_size", [2048, 5])
def test_duplicating_every_sample_changes_nothing(block_size):
    once = run(x_test=X_TEST, block_size=block_size)
    twice = et.train(
        NETWORK.apply,
        PARAMS,
        np.tile(X, (2, 1)),
        np.tile(Y, 2),
        x_test=X_TEST,
        learning_rate=0.7,
        num_steps=40,
        record_steps=(0, 1, 7, 40),
        block_size=block_size,
    )
    np.testing.assert_allclose(once.test_outputs, twice.test_outputs, atol=1e-12)
    np.testing.assert_allclose(once.train_loss, twice.train_loss, rtol=1e-12)


def test_test_set_and_observations():
    trajectory = run(x_test=X_TEST, y_test=Y_TEST, observe=lambda p: {"norm": jnp.linalg.norm(p.w)}, block_size=3)
    last = NETWORK.apply(trajectory.params, X_TEST)
    np.testing.assert_allclose(trajectory.test_outputs[-1], last, atol=1e-12)
    np.testing.assert_allclose(trajectory.test_loss[-1], np.mean((last - 1) ** 2) / 2, rtol=1e-12)
    np.testing.assert_allclose(trajectory.observed["norm"][-1], np.linalg.norm(trajectory.params.w))
    without = run()
    assert without.test_outputs.shape == (4, 0) and np.all(np.isnan(without.test_loss)) and without.observed is None


@pytest.mark.parametrize("spread", [(True, True), (True, False), (False, True)])
def test_what_is_spread_over_devices_is_trained_as_on_one(monkeypatch, spread):
    how = {"x_test": X_TEST, "y_test": Y_TEST, "block_size": 3, "num_steps": 5, "record_steps": (0, 5)}
    alone, devices = run(**how), iter([TwoDevices() if each else None for each in spread])
    monkeypatch.setattr(gradient_descent, "shards_of", lambda x: next(devices))
    found = run(**how)
    for name in ("train_outputs", "test_outputs", "train_loss", "test_loss"):
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name), rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(found.params.w, alone.params.w, rtol=1e-12)


def test_going_on_from_a_state():
    whole = run(record_steps=(0, 40))
    half = run(num_steps=15, record_steps=(0,))
    rest = run(record_steps=(15, 40), state=half.state)
    np.testing.assert_allclose(rest.params.w, whole.params.w, rtol=1e-12)
    np.testing.assert_allclose(rest.train_loss[-1], whole.train_loss[-1], rtol=1e-12)
    assert rest.state.step == 40 and half.state.step == 15
    with refused("record_steps"):
        run(record_steps=(14, 40), state=half.state)


def test_seeds_in_one_program():
    def one(key):
        return et.train(NETWORK.apply, NETWORK.init(key), X, Y, learning_rate=0.5, num_steps=5, record_steps=(5,))

    together = [et.over_seeds(one, 3, 4, batch_size=batch) for batch in (None, 1, 2)]
    alone = one(jax.random.split(jax.random.key(3), 4)[2])
    for trajectory in together:
        np.testing.assert_allclose(trajectory.train_outputs[2], alone.train_outputs, atol=1e-12)


def test_any_network_and_pytree():
    apply = lambda params, images: jnp.sum(images * params["a"]["k"][None], axis=(1, 2)) + params["b"]
    images = np.random.default_rng(1).normal(size=(9, 3, 2))
    params = {"a": {"k": jnp.zeros((3, 2))}, "b": jnp.zeros(())}
    trajectory = et.train(
        apply,
        params,
        images,
        images[:, 0, 0] + 1,
        learning_rate={"a": 0.3, "b": 0.3},
        num_steps=3000,
        record_steps=(3000,),
        block_size=4,
    )
    assert trajectory.train_loss[0] < 1e-10 and abs(trajectory.params["b"] - 1) < 1e-4


def linear_apply(beta, x):
    return x @ beta


def test_divergence_is_reported_with_the_stable_limit():
    limit = 2 * N / np.linalg.eigvalsh(X @ X.T)[-1]
    fine = et.train(linear_apply, jnp.zeros(D), X, Y, learning_rate=0.97 * limit, num_steps=800, record_steps=(800,))
    assert et.require_finite(fine) is fine
    diverged = et.train(linear_apply, jnp.zeros(D), X, Y, learning_rate=1.5 * limit, num_steps=800, record_steps=(0,))
    np.testing.assert_allclose(diverged.stable_learning_rate, limit, rtol=1e-3)
    losses = [np.sum(Y**2) / (2 * N)]
    beta = np.zeros(D)
    while losses[-1] <= 1e6 * losses[0]:
        beta -= 1.5 * limit / N * X.T @ (X @ beta - Y)
        losses.append(np.sum((X @ beta - Y) ** 2) / (2 * N))
    assert diverged.diverged_at == len(losses) - 1
    with pytest.raises(
        ValueError, match=rf"^learning_rate: .* step {len(losses) - 1};.* 2n/lambda_max .* is {limit:.4g}"
    ):
        et.require_finite(diverged)


def test_a_frozen_layer_needs_no_gradient():
    """That of b is infinite at 0."""
    apply = lambda params, x: x @ params["a"] + jnp.sqrt(params["b"])
    rates = {"a": 0.1, "b": 0.0}
    found = et.train(
        apply, {"a": jnp.zeros(D), "b": 0.0}, X, Y, learning_rate=rates, num_steps=5, record_steps=(5,)
    ).params
    alone = et.train(linear_apply, jnp.zeros(D), X, Y, learning_rate=0.1, num_steps=5, record_steps=(5,)).params
    np.testing.assert_allclose(found["a"], alone, rtol=1e-12)
    assert found["b"] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_whose_start_is_not_finite_has_diverged_there(dtype):
    x, y = X.astype(dtype), Y.astype(dtype)
    start = jnp.full(D, np.finfo(dtype).max / 100, dtype)
    found = et.train(linear_apply, start, x, y, learning_rate=0.1, num_steps=5, record_steps=(0, 5))
    assert found.diverged_at == 0 and found.steps.dtype == np.int32
    limit = 2 * N / np.linalg.eigvalsh(X @ X.T)[-1]
    np.testing.assert_allclose(found.stable_learning_rate, limit, rtol=1e-3)
    calm = et.train(linear_apply, jnp.zeros(D, dtype), x, y, learning_rate=0.1, num_steps=1, record_steps=(0,))
    assert found.stable_learning_rate.dtype == calm.stable_learning_rate.dtype == dtype


def test_divergence_of_one_layer_and_of_one_seed():
    layered = et.train(
        et.two_layer(D, M, "relu").apply,
        PARAMS,
        X,
        Y,
        learning_rate=et.TwoLayerParams(w=0.0, v=500.0),
        num_steps=200,
        record_steps=(200,),
        block_size=4,
    )
    kernel = et.two_layer_kernel(PARAMS, X, "relu", trained="second").dense()
    limit = 2 * N / np.linalg.eigvalsh(kernel)[-1]
    np.testing.assert_allclose(layered.stable_learning_rate.v, limit, rtol=1e-3)
    assert layered.stable_learning_rate.w == 0
    rates = jnp.array([0.01, 50.0])
    pair = jax.jit(
        jax.vmap(
            lambda rate: et.train(
                linear_apply, jnp.zeros(D), X, Y, learning_rate=rate, num_steps=99, record_steps=(99,)
            )
        )
    )(rates)
    assert pair.diverged_at[0] == -1 and pair.diverged_at[1] > 0
    assert np.isnan(pair.stable_learning_rate[0]) and pair.stable_learning_rate[1] < 50
    with pytest.raises(ValueError, match="of run 1"):
        et.require_finite(pair)


def test_compiled_once_for_different_steps_and_rates():
    et.train(NETWORK.apply, PARAMS, X, Y, learning_rate=0.1, num_steps=5, record_steps=(0, 5))
    traces = []
    counted = lambda params, x: (traces.append(1), NETWORK.apply(params, x))[1]
    for rate, last in ((0.1, 5), (0.2, 9)):
        et.train(counted, PARAMS, X, Y, learning_rate=rate, num_steps=last, record_steps=(0, last))
        first = len(traces) if last == 5 else first
    assert len(traces) <= first + 1  # the second call at most checks the shape of the outputs


@pytest.mark.parametrize(
    "name, changes",
    [
        ("record_steps", dict(record_steps=(0, 41))),
        ("record_steps", dict(record_steps=(-1, 3))),
        ("record_steps", dict(record_steps=(3, 3))),
        ("record_steps", dict(record_steps=(0, 3, 3, 5))),
        ("record_steps", dict(record_steps=5)),
        ("record_steps", dict(record_steps=np.array([[0, 5]]))),
        ("record_steps", dict(record_steps=())),
        ("record_steps", dict(record_steps=(0.5,))),
        ("num_steps", dict(num_steps=-1)),
        ("learning_rate", dict(learning_rate=-0.1)),
        ("learning_rate", dict(learning_rate=np.nan)),
        ("learning_rate", dict(learning_rate={"w": 1.0})),
        ("block_size", dict(block_size=0)),
        ("x_test", dict(x_test=X_TEST[:, :2])),
        ("x_test", dict(x_test=X_TEST * np.nan)),
        ("y_test", dict(x_test=X_TEST, y_test=Y_TEST[:2])),
        ("y_test", dict(y_test=Y_TEST)),
    ],
)
def test_bad_arguments_are_named(name, changes):
    with refused(name):
        run(**changes)


def test_bad_data_are_named():
    call = lambda apply, x, y: et.train(apply, PARAMS, x, y, learning_rate=1.0, num_steps=1, record_steps=(0,))
    for name, x, y in [
        ("y", X, Y[:-1]),
        ("y", X, Y[:, None]),
        ("x", X[:0], Y[:0]),
        ("x", X * np.inf, Y),
        ("y", X, np.full_like(Y, np.nan)),
    ]:
        with np.errstate(all="ignore"), refused(name):
            call(NETWORK.apply, x, y)
    with refused("apply_fn"):
        call(lambda params, x: NETWORK.apply(params, x)[:, None], X, Y)


@pytest.mark.parametrize("num_steps, num_records", [(1, 1), (100, 5), (243, 20), (3000, 40)])
def test_log_spaced_steps(num_steps, num_records):
    steps = et.log_spaced_steps(num_steps, num_records)
    assert steps[0] == 0 and steps[-1] == num_steps and len(steps) <= num_records + 1
    assert list(steps) == sorted(set(steps))


def test_steps_may_be_traced():
    given = {"learning_rate": 0.1, "num_steps": 7, "record_steps": (0, 2, 5)}
    traced = jax.jit(
        lambda last, steps: et.train(
            linear_apply, jnp.zeros(D), X, Y, **given | {"num_steps": last, "record_steps": steps}
        )
    )
    expected, found = et.train(linear_apply, jnp.zeros(D), X, Y, **given), traced(7, np.array([0, 2, 5]))
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_allclose(found.train_outputs, expected.train_outputs, rtol=1e-12)
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-12)


def test_test_inputs_are_of_the_type_of_the_training_inputs():
    tokens = np.zeros((2, D), dtype=int)
    with refused("x_test"):
        et.train(linear_apply, jnp.zeros(D), X, Y, learning_rate=0.1, num_steps=1, record_steps=(0,), x_test=tokens)
