"""Training with optax's transformations, and records that are summaries of the outputs."""

import types

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refused

NETWORK = et.two_layer(3, 8, "tanh")
PARAMS = NETWORK.init(jax.random.key(0))
TASK = et.sample_task(jax.random.key(1), 12, 5, 3)


@pytest.fixture(autouse=True)
def promotion():
    """Optax itself mixes types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def loop(optimizer, params, num_steps):
    """An unrolled loop, as optax's documentation has it."""
    gradient = jax.jit(jax.grad(lambda p: jnp.mean((NETWORK.apply(p, TASK.x) - TASK.y) ** 2) / 2))
    state = optimizer.init(params)
    for _ in range(num_steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def train(optimizer, params=PARAMS, apply_fn=NETWORK.apply, num_steps=7, **options):
    options = {"record_steps": (0, num_steps)} | options
    return et.train(apply_fn, params, TASK.x, TASK.y, optimizer=optimizer, num_steps=num_steps, **options)


def assert_equal(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-9} | tolerance)), one, other)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(0.03, weight_decay=0.1, mask=et.TwoLayerParams(w=True, v=False)),
        optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(optax.linear_schedule(1.0, 0.1, 5))),
        optax.multi_transform({"slow": optax.sgd(0.1), "fast": optax.adam(0.1)}, et.TwoLayerParams(w="slow", v="fast")),
    ],
    ids=["adamw with a mask", "clipped, with a schedule", "a rule for each layer"],
)
def test_an_optimizer_does_what_its_own_loop_does(optimizer):
    assert_equal(train(optimizer).params, loop(optimizer, PARAMS, 7))


def test_plain_and_heavy_ball_descent_are_the_module_s_own():
    own = dict(num_steps=7, record_steps=(0, 3, 7), learning_rate=0.5, momentum=0.9)
    expected = et.train(NETWORK.apply, PARAMS, TASK.x, TASK.y, **own)
    found = train(optax.sgd(0.5, momentum=0.9), record_steps=(0, 3, 7))
    assert_equal(found.params, expected.params)
    np.testing.assert_allclose(found.train_outputs, expected.train_outputs, rtol=1e-9)


def test_a_run_that_goes_on_is_the_uninterrupted_one():
    optimizer = optax.adam(optax.exponential_decay(0.1, 2, 0.8))
    batches = {"batch_size": 5, "key": jax.random.key(3)}
    whole = train(optimizer, **batches)
    part = train(optimizer, num_steps=4, **batches)
    rest = train(optimizer, params=part.params, state=part.state, record_steps=(7,), **batches)
    assert_equal(rest.params, whole.params, rtol=0)
    np.testing.assert_array_equal(rest.train_loss[-1], whole.train_loss[-1])


@pytest.mark.parametrize("how", [{"optimizer": optax.adam(0.1)}, {"learning_rate": 0.5, "momentum": 0.9}], ids=list)
def test_a_plain_run_goes_on_with_a_memory_that_is_empty(how):
    run = lambda params, **how: et.train(NETWORK.apply, params, TASK.x, TASK.y, **how)
    plain = run(PARAMS, learning_rate=0.5, num_steps=4, record_steps=(4,))
    rest = run(plain.params, state=plain.state, num_steps=7, record_steps=(7,), **how)
    assert_equal(rest.params, run(plain.params, num_steps=3, record_steps=(3,), **how).params)
    assert rest.state.step == 7 and rest.state.first_loss == plain.state.first_loss


def test_what_is_no_parameter_rides_along():
    params = {"net": PARAMS, "steps": jnp.arange(3), "name": "tanh"}
    found = train(optax.adam(0.1), params=params, apply_fn=lambda p, x: NETWORK.apply(p["net"], x))
    assert_equal(found.params["net"], loop(optax.adam(0.1), PARAMS, 7))
    assert found.params["name"] == "tanh" and found.params["steps"].tolist() == [0, 1, 2]


def test_several_seeds_at_once():
    def run(key, x, y):
        return et.train(NETWORK.apply, NETWORK.init(key), x, y, optimizer=ADAM, num_steps=4, record_steps=(4,)).params

    found = et.over_seeds(run, 0, 2, TASK.x, TASK.y)
    for k, key in enumerate(jax.random.split(jax.random.key(0), 2)):
        expected = loop(ADAM, NETWORK.init(key), 4)
        assert_equal(jax.tree.map(lambda leaf: leaf[k], found), expected, rtol=1e-7)


ADAM = optax.adam(0.05)


def test_divergence_names_the_optimizer():
    run = train(optax.sgd(1e6), num_steps=40)
    assert run.diverged_at > 0 and np.isnan(run.stable_learning_rate)
    with pytest.raises(ValueError, match=f"^optimizer: training diverged at step {run.diverged_at}"):
        et.require_finite(run)


def test_outputs_can_be_summarized_where_they_are_many():
    whole = train(optax.sgd(0.5), record_steps=(0, 3, 7), x_test=TASK.x_test, y_test=TASK.y_test)
    short = train(
        optax.sgd(0.5),
        record_steps=(0, 3, 7),
        x_test=TASK.x_test,
        y_test=TASK.y_test,
        summarize=lambda outputs: {"mean": jnp.mean(outputs), "first": outputs[:2]},
    )
    np.testing.assert_allclose(short.train_outputs["mean"], whole.train_outputs.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(short.test_outputs["first"], whole.test_outputs[:, :2], rtol=1e-9)
    np.testing.assert_allclose(short.train_loss, whole.train_loss, rtol=1e-9)
    np.testing.assert_allclose(short.test_loss, whole.test_loss, rtol=1e-9)
    model = et.linear_model(lambda x: x, TASK.x, TASK.y, learning_rate=0.5)
    with refused("trajectory"):
        et.compare(short, model, *TASK)


def test_refusals():
    with refused("learning_rate", saying="expected"):
        train(None)
    with refused("learning_rate"):
        train(optax.sgd(0.1), learning_rate=0.1)
    with refused("momentum"):
        train(optax.sgd(0.1), momentum=0.9)
    with refused("optimizer"):
        train(0.1)
    with refused("optimizer"):
        train(optax.lbfgs())
    with refused("optimizer"):
        train(types.SimpleNamespace(init=lambda params: ()))
    one_short = optax.GradientTransformation(lambda params: (), lambda updates, state, params: (updates[:1], state))
    with pytest.raises(ValueError):
        train(one_short)
