"""What a diagnosis infers without training twice, against training twice."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from earlytime.diagnosis import diagnose

pytestmark = pytest.mark.slow
KEY = jax.random.key(0)
TASK = et.sample_task(KEY, 120, 1, 8)
CLASSES = np.argmax(np.asarray(TASK.x)[:, :3] ** 2, axis=1)
PICTURES = np.random.default_rng(0).normal(size=(60, 32))

NETWORKS = {
    "erf, narrow": (et.two_layer(8, 32, "erf"), TASK.x, TASK.y, {}),
    "tanh, wide": (et.two_layer(8, 1024, "tanh"), TASK.x, TASK.y, {}),
    "relu": (et.two_layer(8, 256, "relu"), TASK.x, TASK.y, {}),
    "two hidden layers": (et.fully_connected(8, 64, "tanh", depth=2), TASK.x, TASK.y, {}),
    "four hidden layers, relu": (et.symmetric(et.fully_connected(8, 64, "relu", depth=4)), TASK.x, TASK.y, {}),
    "classes": (
        et.fully_connected(8, 64, "softplus", depth=2, num_outputs=3),
        TASK.x,
        CLASSES,
        {"loss": "cross_entropy"},
    ),
    "convolutional": (et.convolutional((4, 4, 2), 16, "tanh", depth=2, filter_size=3), PICTURES, TASK.y[:60], {}),
    "Adam": (et.two_layer(8, 256, "tanh"), TASK.x, TASK.y, {"optimizer": optax.adam(0.01)}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_remainder_is_near_that_of_a_trained_taylor_model(name):
    """Within a factor of 2.2 from half a percent up to a tenth, which is what a verdict speaks of; of 2.5 for Adam.

    Measured: 0.65 to 2.08 there by gradient descent, 1.43 to 2.21 by Adam. Beyond a tenth the network is elsewhere than
    its linear model, and the ratio grows, to 3.3 for the convolutional network. Adam divides by the size of a gradient:
    its first steps take two models apart whose remainders are one to a few thousandths, 0.04 there.
    """
    network, x, y, how = NETWORKS[name]
    params = network.init(jax.random.key(1))
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
        found = diagnose(network.apply, params, x, y, num_steps=100, batch_size=None, progress=False, **how)
        steps = tuple(int(step) for step in found.path.steps)
        linear = et.linearize(network)
        rate = found.limits.learning_rate_used
        rule = how if "optimizer" in how else how | {"learning_rate": rate}
        run = {"num_steps": steps[-1], "record_steps": steps}
        own = et.train(network.apply, params, x, y, **run, **rule)
        if "optimizer" not in how:
            rule = rule | {"learning_rate": et.linearization.LinearizedParams(start=0.0, change=rate)}
        taylor = et.train(linear.apply, et.linearization.LinearizedParams.around(params), x, y, **run, **rule)
    norm = lambda outputs: np.linalg.norm(np.asarray(outputs).reshape(len(steps), -1), axis=1)[1:]
    trained = norm(own.train_outputs - taylor.train_outputs) / norm(own.train_outputs - own.train_outputs[:1])
    ratio = found.path.remainder[1:] / trained
    seen = (np.maximum(trained, found.path.remainder[1:]) > 0.005) & (found.path.remainder[1:] <= 0.1)
    factor = 2.5 if name == "Adam" else 2.2
    near = (ratio > 1 / factor) & (ratio < factor)
    assert seen.any() and np.all(near[seen]), f"ratios {ratio}, remainders {trained}"


@pytest.mark.parametrize("name", ["erf, narrow", "relu", "two hidden layers"])
def test_gradient_descent_grows_above_the_gauss_newton_limit_and_not_below(name):
    """On the Taylor model, whose loss is the quadratic that the limit speaks of, and on the network's first steps."""
    network, x, y, _ = NETWORKS[name]
    params = network.init(jax.random.key(1))
    limit = diagnose(network.apply, params, x, y, num_steps=1, progress=False).limits.learning_rate
    linear, around = et.linearize(network), et.linearization.LinearizedParams.around(params)
    loss = lambda share: (
        et.train(
            linear.apply,
            around,
            x,
            y,
            learning_rate=et.linearization.LinearizedParams(start=0.0, change=share * limit),
            num_steps=400,
            record_steps=(0, 399, 400),
        ).train_loss
    )
    below, above = loss(0.95), loss(1.05)
    assert below[2] <= below[1] < below[0] and above[2] > above[0]


def test_a_page_of_the_book_says_the_same():
    """Critical learning rate and kernel change of a two-layer network, as the notebooks compute them."""
    network, x, y, _ = NETWORKS["tanh, wide"]
    params = network.init(jax.random.key(1))
    found = diagnose(network.apply, params, x, y, num_steps=100, batch_size=None, progress=False)
    kernel = et.two_layer_kernel(params, x, "tanh", trained="both").dense()
    assert found.limits.learning_rate == pytest.approx(float(et.kernels.stable_learning_rate(kernel)), rel=0.01)
    run = et.train(
        network.apply,
        params,
        x,
        y,
        learning_rate=found.limits.learning_rate_used,
        num_steps=100,
        record_steps=(0, 100),
        observe=lambda params: et.two_layer_kernel(params, x, "tanh", trained="both").dense(),
    )
    change = float(et.kernels.kernel_change(run.observed)[1])
    assert found.path.kernel_change[-1] == pytest.approx(change, rel=1e-6)
    moments = et.gaussian_moments("tanh")
    assert found.kernel.linear == pytest.approx(2 * moments.zeta**2, rel=0.3) and jnp.isfinite(found.kernel.gap)
