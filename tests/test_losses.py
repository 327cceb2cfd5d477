"""Losses, momentum, mini-batches and several outputs, against plain loops in numpy."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from refusals import refused

N, D, K = 12, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
SIGNS, CLASSES = np.sign(RNG.normal(size=N)), RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[CLASSES]
START = {"one": RNG.normal(size=D), "many": RNG.normal(size=(D, K))}


def linear(beta, x):
    return x @ beta


def softmax(f):
    e = np.exp(f - f.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# The derivative of the loss of one sample with respect to its outputs, written out.
CASES = {
    "squared": ("squared", "one", SIGNS, lambda f, rows: f - SIGNS[rows]),
    "squared, k outputs": ("squared", "many", ONE_HOT, lambda f, rows: f - ONE_HOT[rows]),
    "signs": ("cross_entropy", "one", SIGNS, lambda f, rows: -SIGNS[rows] / (1 + np.exp(SIGNS[rows] * f))),
    "classes": ("cross_entropy", "many", CLASSES, lambda f, rows: softmax(f) - ONE_HOT[rows]),
    "probabilities": ("cross_entropy", "many", ONE_HOT, lambda f, rows: softmax(f) - ONE_HOT[rows]),
    "function": (lambda f, y: jnp.cosh(f - y), "one", SIGNS, lambda f, rows: np.sinh(f - SIGNS[rows])),
}


def loop(case, rate, momentum, num_steps, batches=None):
    _, which, _, slope = CASES[case]
    beta, velocity = START[which].copy(), 0.0
    for step in range(num_steps):
        rows = np.arange(N) if batches is None else batches[step]
        velocity = momentum * velocity + X[rows].T @ slope(X[rows] @ beta, rows) / len(rows)
        beta = beta - rate * velocity
    return beta


def run(case, momentum=0.0, num_steps=20, **options):
    loss, which, y, _ = CASES[case]
    return et.train(
        linear,
        START[which],
        X,
        y,
        loss=loss,
        momentum=momentum,
        learning_rate=0.2,
        num_steps=num_steps,
        record_steps=(0, num_steps),
        **options,
    )


@pytest.mark.parametrize(
    "case, momentum, block_size",
    [
        ("squared", 0.9, 5),
        ("squared, k outputs", 0.0, 2048),
        ("signs", 0.0, 2048),
        ("classes", 0.5, 5),
        ("probabilities", 0.0, 5),
        ("function", 0.0, 2048),
    ],
)
def test_training_is_the_plain_loop(case, momentum, block_size):
    trajectory = run(case, momentum, block_size=block_size)
    np.testing.assert_allclose(trajectory.params, loop(case, 0.2, momentum, 20), rtol=1e-9)
    np.testing.assert_allclose(trajectory.train_outputs[0], X @ START[CASES[case][1]], rtol=1e-12)


def test_recorded_losses():
    f, y = X @ START["many"], ONE_HOT
    squared = run("squared, k outputs", num_steps=1, x_test=X[:5], y_test=y[:5])
    np.testing.assert_allclose(squared.train_loss[0], np.sum((f - y) ** 2) / (2 * N), rtol=1e-12)
    assert squared.test_outputs.shape == (2, 5, K)
    np.testing.assert_allclose(squared.test_loss[0], np.sum((f - y)[:5] ** 2) / 10, rtol=1e-12)
    expected = -np.mean(np.log(softmax(f)[np.arange(N), CLASSES]))
    np.testing.assert_allclose(run("classes", num_steps=1).train_loss[0], expected, rtol=1e-12)
    signs = np.mean(np.log(1 + np.exp(-SIGNS * (X @ START["one"]))))
    np.testing.assert_allclose(run("signs", num_steps=1).train_loss[0], signs, rtol=1e-12)


def test_mini_batches_are_epochs_without_replacement():
    key, size = jax.random.key(3), 5  # 12 samples: 2 steps an epoch, 2 samples left out of each
    orders = [jax.random.permutation(jax.random.fold_in(key, epoch), N) for epoch in range(10)]
    batches = [np.asarray(order)[part * size : (part + 1) * size] for order in orders for part in range(2)]
    for momentum in (0.0, 0.8):
        trajectory = run("squared", momentum, batch_size=size, key=key)
        np.testing.assert_allclose(trajectory.params, loop("squared", 0.2, momentum, 20, batches), rtol=1e-9)
    whole = run("squared", batch_size=N, key=key)
    np.testing.assert_allclose(whole.params, run("squared").params, rtol=1e-9)


def test_going_on_keeps_velocity_and_batches():
    options = {"batch_size": 5, "key": jax.random.key(1), "learning_rate": 0.1, "momentum": 0.9, "block_size": 3}
    go = lambda last, **state: et.train(
        linear, START["one"], X, SIGNS, num_steps=last, record_steps=(last,), **options, **state
    )
    np.testing.assert_allclose(go(9, state=go(5).state).params, go(9).params, rtol=1e-12)


def test_a_traced_momentum_of_zero_is_gradient_descent():
    final = lambda beta: run("squared", beta).params
    both = jax.jit(jax.vmap(final))(jnp.array([0.0, 0.9]))
    np.testing.assert_allclose(both[0], run("squared").params, rtol=1e-12)
    np.testing.assert_allclose(both[1], run("squared", 0.9).params, rtol=1e-12)
    assert run("squared").state.velocity is None


def test_duplicating_every_sample_changes_nothing():
    for case, momentum in (("classes", 0.5), ("signs", 0.0)):
        loss, which, y, _ = CASES[case]
        twice = et.train(
            linear,
            START[which],
            np.tile(X, (2, 1)),
            np.tile(y, 2),
            loss=loss,
            momentum=momentum,
            learning_rate=0.2,
            num_steps=20,
            record_steps=(20,),
        )
        np.testing.assert_allclose(twice.params, run(case, momentum).params, rtol=1e-10)


def test_loss_flow_of_several_outputs_is_the_matrix_exponential():
    """With a kernel of all outputs together, on new inputs from their own start, and with too few steps."""
    n, k, time = 3, 2, [0.5, 4.0]
    root, root_new = RNG.normal(size=(n * k, 5)), RNG.normal(size=(2 * k, 5))
    kernel, kernel_new = root @ root.T, root_new @ root.T
    y, start, start_new = RNG.normal(size=(n, k)), RNG.normal(size=(n, k)), RNG.normal(size=(2, k))
    options = {"loss": "squared", "start": start, "kernel_new": kernel_new, "start_new": start_new}
    found, found_new = et.loss_flow(kernel, y, time=time, **options)
    generator = np.block([[-kernel / n, -np.eye(n * k) / n], [np.zeros((n * k, 2 * n * k))]])
    for i, t in enumerate(time):  # α' = -(f₀ - y + Θα)/n
        alpha = scipy.linalg.expm(t * generator)[: n * k, n * k :] @ (start - y).ravel()
        np.testing.assert_allclose(found[i], start + (kernel @ alpha).reshape(n, k), atol=1e-7)
        np.testing.assert_allclose(found_new[i], start_new + (kernel_new @ alpha).reshape(2, k), atol=1e-7)
    few, _ = et.loss_flow(kernel, y, time=time, max_steps=2, **options)
    assert not np.isfinite(few[1]).any()


@pytest.mark.parametrize(
    "name, changes",
    [
        ("loss", {"loss": "hinge"}),
        ("momentum", {"momentum": 1.0}),
        ("momentum", {"momentum": -0.1}),
        ("batch_size", {"batch_size": 0, "key": jax.random.key(0)}),
        ("batch_size", {"batch_size": N + 1, "key": jax.random.key(0)}),
        ("key", {"batch_size": 2}),
        ("y", {"loss": "cross_entropy", "y": CLASSES + 0.5}),
    ],
)
def test_bad_arguments_are_named(name, changes):
    options = {"y": SIGNS, "learning_rate": 0.1, "num_steps": 1, "record_steps": (0,)} | changes
    with refused(name):
        et.train(linear, START["one"], X, **options)


def test_bad_classes_are_named():
    for y in (CLASSES + K, CLASSES * 1.0, CLASSES - K):
        with refused("y"):
            et.train(
                linear, START["many"], X, y, loss="cross_entropy", learning_rate=0.1, num_steps=1, record_steps=(0,)
            )
