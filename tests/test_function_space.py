"""Closed forms against plain iteration, against each other in their limits, and against neural-tangents."""

import importlib.util

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from earlytime import _solver, infinite_width
from refusals import refused

N, NEW, P = 7, 3, 30
RNG = np.random.default_rng(1)
JACOBIAN, JACOBIAN_NEW = RNG.normal(size=(N, P)), RNG.normal(size=(NEW, P))
KERNEL, KERNEL_NEW = JACOBIAN @ JACOBIAN.T, JACOBIAN_NEW @ JACOBIAN.T
TOP = np.linalg.eigvalsh(KERNEL)[-1]
Y, START, START_NEW = RNG.normal(size=N), RNG.normal(size=N), RNG.normal(size=NEW)
needs_neural_tangents = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)


def iterate(rate, momentum, num_steps, repeat=1):
    """Gradient descent in weight space on the loss with 1/(2n)."""
    jacobian, y, start = (np.concatenate([a] * repeat) for a in (JACOBIAN, Y, START))
    omega, velocity, found = np.zeros(P), np.zeros(P), []
    for _ in range(num_steps + 1):
        found.append(np.concatenate([START + JACOBIAN @ omega, START_NEW + JACOBIAN_NEW @ omega]))
        velocity = momentum * velocity + jacobian.T @ (start + jacobian @ omega - y) / len(y)
        omega = omega - rate * velocity
    return np.array(found)


def both(dynamics, **when):
    on_train = dynamics.predict(START, **when)
    return jnp.concatenate(
        [on_train, dynamics.predict(START, kernel_new=KERNEL_NEW, start_new=START_NEW, **when)], axis=-1
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_momentum_with_a_kernel_that_is_singular(dtype):
    """A mode without an eigenvalue drifts: its gain is that of a velocity under friction, at any step or time."""
    beta, rate, n = 0.75, 0.5, 2
    kernel = np.diag([1.0, 0.0]).astype(dtype)
    dynamics = et.kernel_dynamics(kernel, np.ones(n, dtype), learning_rate=rate, momentum=beta)
    velocity, drift, drifts = 0.0, 0.0, []
    for _ in range(6):
        drifts.append(drift)
        velocity = beta * velocity + 1 / n
        drift = drift + rate * velocity
    new = np.array([[0.0, 1.0]], dtype)
    np.testing.assert_allclose(dynamics.predict(steps=range(6), kernel_new=new)[:, 0], drifts, rtol=1e-6)
    time = np.array([0.0, 0.2, 1.0, 7.0])
    generator = np.array([[0, 1, 0], [0, -(1 - beta), rate / n], [0, 0, 0]])
    flow = [scipy.linalg.expm(t / rate * generator)[0, 2] for t in time]
    np.testing.assert_allclose(dynamics.predict(time=time, kernel_new=new)[:, 0], flow, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(dynamics.predict(time=time)[:, 1], 0, atol=1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.97, 1.01])  # of the stability limit: all roots, both signs
def test_steps_are_the_iteration(momentum, share):
    rate = share * 2 * (1 + momentum) * N / TOP
    dynamics = et.kernel_dynamics(KERNEL, Y, learning_rate=rate, momentum=momentum)
    np.testing.assert_allclose(share * dynamics.stable_learning_rate, rate, rtol=1e-10)
    steps = np.array([0, 1, 2, 3, 17, 200])
    np.testing.assert_allclose(both(dynamics, steps=steps), iterate(rate, momentum, 200)[steps], rtol=1e-8, atol=1e-8)


def test_the_stable_rate_counts_samples_and_not_outputs():
    dynamics = et.kernel_dynamics(KERNEL, np.stack([Y, -Y], axis=1), learning_rate=1.0, momentum=0.5)
    np.testing.assert_allclose(dynamics.stable_learning_rate, 2 * 1.5 * N / TOP)
    assert isinstance(dynamics.condition_number, np.ndarray)


def test_a_rate_in_single_precision_does_not_lower_that_of_the_rest():
    rate = jnp.float32(0.3)
    found = et.kernel_dynamics(KERNEL, Y, learning_rate=rate)
    exact = et.kernel_dynamics(KERNEL, Y, learning_rate=float(rate))
    for when in ({"steps": 3}, {"time": 0.2}):
        np.testing.assert_allclose(found.predict(START, **when), exact.predict(START, **when), rtol=1e-12)


def test_what_is_traced_in_single_precision_has_its_rounding():
    q = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    kernel = q @ np.diag([1.0, 0.5, 1e-12]) @ q.T
    dynamics = et.kernel_dynamics(kernel, np.ones(3), learning_rate=1.0)._replace(labels=np.ones(3, np.float32))
    found = jax.jit(lambda time: dynamics.predict(time=time, kernel_new=kernel.astype(np.float32)))(np.float32(1e14))
    assert found.dtype == np.float32 and np.abs(found).max() < 2


def test_a_kernel_of_zeros_teaches_nothing():
    dynamics = et.kernel_dynamics(np.zeros((N, N)), Y, learning_rate=1.0)
    for when in ({"steps": [0, 5]}, {"time": [0.0, np.inf]}):
        np.testing.assert_array_equal(dynamics.predict(START, **when), np.stack([START, START]))
        new = dynamics.predict(START, kernel_new=np.zeros((NEW, N)), start_new=START_NEW, **when)
        np.testing.assert_array_equal(new, np.stack([START_NEW, START_NEW]))
    assert np.isinf(dynamics.stable_learning_rate)


def test_whole_numbers_are_exact_in_single_precision_too():
    with jax.enable_x64(False):
        dynamics = et.kernel_dynamics(np.diag([1, 3]), np.ones(2, np.float32), learning_rate=1.0)
        assert dynamics.precision == 2.0**-52 and dynamics.predict(steps=2).dtype == np.float32


def test_momentum_at_its_double_root_and_at_zero():
    beta = 0.49
    rates = np.array([(1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2, 0.0, 1e-9])
    for rate in rates:
        dynamics = et.kernel_dynamics(np.eye(1), np.ones(1), learning_rate=rate or 1.0, momentum=beta)
        if rate == 0:
            dynamics = dynamics._replace(eigenvalues=jnp.zeros(1))
        rho, last = [1.0, 1 - rate], 25
        for _ in range(last):
            rho.append((1 + beta - rate) * rho[-1] - beta * rho[-2])
        np.testing.assert_allclose(dynamics.learned(steps=np.arange(last))[:, 0], 1 - np.array(rho[:last]), atol=1e-7)
    null = et.kernel_dynamics(np.diag([1.0, 0.0]), np.ones(2), learning_rate=0.2, momentum=beta)
    tiny = et.kernel_dynamics(np.diag([1.0, 1e-7]), np.ones(2), learning_rate=0.2, momentum=beta)
    for when in ({"steps": np.arange(9)}, {"time": np.linspace(0, 3, 9)}):
        gains = [d.transfer(np.eye(2), **when)[:, 1, 1] for d in (null, tiny)]
        np.testing.assert_allclose(*gains, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_duplicating_every_sample_changes_nothing(momentum):
    rate, steps = 0.6 * 2 * N / TOP, [1, 5, 60]
    twice = et.kernel_dynamics(np.tile(KERNEL, (2, 2)), np.tile(Y, 2), learning_rate=rate, momentum=momentum)
    once = et.kernel_dynamics(KERNEL, Y, learning_rate=rate, momentum=momentum)
    new = lambda d, start, repeat, **when: d.predict(
        start, kernel_new=np.tile(KERNEL_NEW, (1, repeat)), start_new=START_NEW, **when
    )
    for when in ({"steps": steps}, {"time": np.array([0.3, 2.0, 50.0])}):
        np.testing.assert_allclose(new(twice, np.tile(START, 2), 2, **when), new(once, START, 1, **when), rtol=1e-7)
    expected = iterate(rate, momentum, 60, repeat=2)[steps]
    found = twice.predict(np.tile(START, 2), steps=steps)
    np.testing.assert_allclose(found, np.tile(expected[:, :N], 2), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(new(twice, np.tile(START, 2), 2, steps=steps), expected[:, N:], rtol=1e-8, atol=1e-8)


def test_flow_is_the_matrix_exponential_and_the_limit_of_small_steps():
    dynamics = et.kernel_dynamics(KERNEL, Y, learning_rate=1e-6 * N / TOP)
    time = 3 * N / TOP
    left = scipy.linalg.expm(-time * KERNEL / N) @ (START - Y)
    np.testing.assert_allclose(dynamics.predict(START, time=time), Y + left, rtol=1e-9)
    small = both(dynamics, steps=[3_000_000])[0]
    np.testing.assert_allclose(both(dynamics, time=time), small, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_beginning_and_the_end(momentum):
    dynamics = et.kernel_dynamics(KERNEL, Y, learning_rate=0.3 * N / TOP, momentum=momentum)
    begin = np.concatenate([START, START_NEW])
    np.testing.assert_allclose(both(dynamics, time=0.0), begin, atol=1e-12)
    np.testing.assert_allclose(both(dynamics, steps=0), begin, atol=1e-12)
    fitted = START_NEW + KERNEL_NEW @ np.linalg.solve(KERNEL, Y - START)
    np.testing.assert_allclose(both(dynamics, time=np.inf), np.concatenate([Y, fitted]), rtol=1e-8)
    np.testing.assert_allclose(both(dynamics, steps=10**6), np.concatenate([Y, fitted]), rtol=1e-8)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-7), ("float32", 2e-2)])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_end_is_least_squares_with_more_samples_than_parameters(momentum, dtype, tolerance):
    rng = np.random.default_rng(3)
    jacobian, jacobian_new, error = rng.normal(size=(40, 6)), rng.normal(size=(5, 6)), rng.normal(size=40)
    jacobian[20:30] = jacobian[:10]  # and some samples twice
    weights = np.linalg.lstsq(jacobian, error, rcond=None)[0]
    kernel, kernel_new = (np.asarray(j @ jacobian.T, dtype) for j in (jacobian, jacobian_new))
    dynamics = et.kernel_dynamics(kernel, np.asarray(error, dtype), learning_rate=0.1, momentum=momentum)
    for when in (np.inf, np.array([1.0, np.inf])):
        on_train, new = dynamics.predict(time=when), dynamics.predict(time=when, kernel_new=kernel_new)
        np.testing.assert_allclose(np.atleast_2d(on_train)[-1], jacobian @ weights, atol=tolerance)
        np.testing.assert_allclose(np.atleast_2d(new)[-1], jacobian_new @ weights, atol=tolerance)
    np.testing.assert_allclose(
        dynamics.transfer(kernel_new, time=np.inf) @ error.astype(dtype), jacobian_new @ weights, atol=tolerance
    )


def test_momentum_flow_is_its_equation():
    rate, beta, last = 0.8 * N / TOP, 0.9, 40
    dynamics = et.kernel_dynamics(KERNEL, Y, learning_rate=rate, momentum=beta)
    state = np.zeros(2 * N)
    state[:N] = START - Y
    generator = np.block([[np.zeros((N, N)), np.eye(N)], [-rate * KERNEL / N, -(1 - beta) * np.eye(N)]])
    expected = (scipy.linalg.expm(last * generator) @ state)[:N]
    np.testing.assert_allclose(dynamics.predict(START, time=rate * last), Y + expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999, 1.0, 1.001, 4.0])  # of critical damping, where two modes meet
def test_one_mode_of_momentum_flow_around_critical_damping(share):
    """The exponential of its 2 x 2 matrix. The critical rate, 1/16, is an exact number."""
    beta, n, eigenvalue = 0.5, 2, 2.0
    rate, time = share / 16, np.array([0.0, 0.3, 2.0, 9.0])
    kernel, step = np.diag([share, 1e-3]) * eigenvalue, n / (16 * eigenvalue)
    dynamics = et.kernel_dynamics(kernel, np.array([1.0, 0.0]), learning_rate=step, momentum=beta)
    at = lambda t: scipy.linalg.expm(t * np.array([[0, 1], [-rate, -(1 - beta)]]))
    left = np.array([at(t / step)[0, 0] for t in time])
    np.testing.assert_allclose(dynamics.predict(time=time)[:, 0], 1 - left, rtol=1e-9, atol=1e-12)
    gain = (1 - left) / kernel[0, 0] if share else [(t - 2 * step * (1 - np.exp(-t / (2 * step)))) for t in time]
    np.testing.assert_allclose(dynamics.transfer(np.eye(2), time=time)[:, 0, 0], gain, rtol=1e-8, atol=1e-12)


def test_transfer_is_what_predict_does():
    dynamics = et.kernel_dynamics(KERNEL, Y, learning_rate=0.3, momentum=0.2)
    moved = dynamics.transfer(KERNEL_NEW, steps=[3, 9])
    np.testing.assert_allclose(moved @ (Y - START) + START_NEW[None, :], both(dynamics, steps=[3, 9])[:, N:], rtol=1e-9)


@pytest.mark.parametrize("num_outputs, momentum", [(2, 0.9), pytest.param(None, 0.0, marks=pytest.mark.slow)])
def test_a_trained_linear_model_is_the_closed_form(num_outputs, momentum):
    """Weight space against function space, with the whole kernel of all outputs."""
    network = et.fully_connected(4, 6, "erf", depth=2, num_outputs=num_outputs)
    linear, x = et.linearize(network), np.asarray(et.sample_inputs(jax.random.key(0), 8, 4))
    params, y = linear.init(jax.random.key(1)), RNG.normal(size=(5, 2))[:, : num_outputs or 1]
    y = y if num_outputs else y[:, 0]
    kernel = et.tangent_kernel(linear.apply, params, x[:5]).dense()
    dynamics = et.kernel_dynamics(kernel, y, learning_rate=0.2, momentum=momentum)
    run = et.train(
        linear.apply,
        params,
        x[:5],
        y,
        x_test=x[5:],
        learning_rate=0.2,
        momentum=momentum,
        num_steps=50,
        record_steps=(0, 7, 50),
    )
    f = linear.apply(params, x)
    np.testing.assert_allclose(run.train_outputs, dynamics.predict(f[:5], steps=[0, 7, 50]), atol=1e-9)
    cross = et.tangent_kernel(linear.apply, params, x[5:], x[:5]).dense()
    new = dynamics.predict(f[:5], kernel_new=cross, start_new=f[5:], steps=[0, 7, 50])
    np.testing.assert_allclose(run.test_outputs, new, atol=1e-9)


def test_it_works_under_jit_and_vmap():
    predict = lambda kernel, rate: et.kernel_dynamics(kernel, Y, learning_rate=rate).predict(steps=[1, 4])
    together = jax.jit(jax.vmap(predict, (None, 0)))(KERNEL, jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(together[1], predict(KERNEL, 0.2), rtol=1e-9)


@pytest.mark.parametrize("when", [{"steps": (0, 1, 4)}, {"time": (0.0, 0.3, 2.0, np.inf)}])
def test_a_traced_momentum_may_be_zero(when):
    solve = lambda beta: et.kernel_dynamics(KERNEL, Y, learning_rate=0.1, momentum=beta)
    momenta = jnp.array([0.0, 0.9])
    together = jax.vmap(lambda beta: both(solve(beta), **{k: jnp.array(v) for k, v in when.items()}))
    for beta, found in zip((0.0, 0.9), jax.jit(together)(momenta)):
        np.testing.assert_allclose(found, both(solve(beta), **when), rtol=1e-9)
    singular = lambda beta: solve(beta)._replace(eigenvalues=jnp.zeros(N)).transfer(KERNEL_NEW, **when)
    np.testing.assert_allclose(jax.vmap(singular)(momenta)[0], singular(0.0), rtol=1e-9)


@needs_neural_tangents
@pytest.mark.parametrize("k", [None, 2])
def test_flow_is_that_of_neural_tangents(k):
    """Its loss is the mean over samples and outputs, so its rate is k times ours; its t is our step."""
    from earlytime import _neural_tangents

    nt, rate, steps = _neural_tangents.load(), 0.7, np.array([0.0, 1.5, 40.0])
    y, start, start_new = (np.stack([a] * (k or 1), 1) * np.arange(1, (k or 1) + 1) for a in (Y, START, START_NEW))
    theirs = nt.predict.gradient_descent_mse(KERNEL, y, learning_rate=(k or 1) * rate)
    expected = theirs(steps, start, start_new, KERNEL_NEW)
    shaped = lambda a: a if k else a[..., 0]
    dynamics = et.kernel_dynamics(KERNEL, shaped(y), learning_rate=rate)
    time = rate * steps
    np.testing.assert_allclose(dynamics.predict(shaped(start), time=time), shaped(expected[0]), atol=1e-6)
    new = dynamics.predict(shaped(start), kernel_new=KERNEL_NEW, start_new=shaped(start_new), time=time)
    np.testing.assert_allclose(new, shaped(expected[1]), atol=1e-6)


@pytest.mark.slow
@needs_neural_tangents
@pytest.mark.parametrize("loss, momentum", [("squared", 0.9), ("cross_entropy", None)])
def test_general_flows_are_those_of_neural_tangents(loss, momentum):
    from earlytime import _neural_tangents

    nt, rate, steps = _neural_tangents.load(), 0.5, np.array([1.0, 6.0, 30.0])
    signs = np.sign(Y)
    losses = {
        "squared": lambda f, y: jnp.sum((f - y) ** 2) / (2 * N),
        "cross_entropy": lambda f, y: jnp.mean(jnp.log(1 + jnp.exp(-y * f))),
    }
    theirs = nt.predict.gradient_descent(losses[loss], KERNEL, signs[:, None], rate, momentum)
    expected = theirs(steps, START[:, None], START_NEW[:, None], KERNEL_NEW)
    if loss == "squared":
        dynamics = et.kernel_dynamics(KERNEL, signs, learning_rate=rate, momentum=momentum)
        ours = np.split(both(dynamics, time=rate * steps), [N], axis=1)
    else:
        ours = et.loss_flow(
            KERNEL, signs, loss=loss, time=rate * steps, start=START, kernel_new=KERNEL_NEW, start_new=START_NEW
        )
    for mine, other in zip(ours, expected):
        np.testing.assert_allclose(mine, other[..., 0], atol=1e-5)


@pytest.mark.slow
def test_loss_flow_is_the_limit_of_small_steps():
    """Softmax over 2 outputs with a kernel over all of them, against training the linear model."""
    network = et.fully_connected(3, 5, "tanh", depth=1, num_outputs=2)
    linear, x = et.linearize(network), np.asarray(et.sample_inputs(jax.random.key(0), 6, 3))
    params, classes = linear.init(jax.random.key(1)), np.array([0, 1, 1, 0])
    kernel = et.tangent_kernel(linear.apply, params, x[:4]).dense()
    cross = et.tangent_kernel(linear.apply, params, x[4:], x[:4]).dense()
    f = linear.apply(params, x)
    flow = et.loss_flow(
        kernel, classes, loss="cross_entropy", time=[2.0, 8.0], start=f[:4], kernel_new=cross, start_new=f[4:]
    )
    errors = []
    for steps in (400, 800):
        run = et.train(
            linear.apply,
            params,
            x[:4],
            classes,
            loss="cross_entropy",
            x_test=x[4:],
            learning_rate=8.0 / steps,
            num_steps=steps,
            record_steps=(steps // 4, steps),
        )
        errors.append(max(np.abs(run.train_outputs - flow[0]).max(), np.abs(run.test_outputs - flow[1]).max()))
    assert errors[0] < 0.02 and errors[1] < 0.6 * errors[0]


@pytest.mark.slow
@needs_neural_tangents
@pytest.mark.parametrize("trained", ["all", "last"])
def test_the_gaussian_process_is_that_of_neural_tangents(trained):
    from earlytime import _neural_tangents

    nt = _neural_tangents.load()
    x = np.asarray(et.sample_inputs(jax.random.key(5), 8, 6))
    kernels = infinite_width.fully_connected("erf", depth=2, weight_std=1.3, bias_std=0.2)
    stax = nt.stax
    dense = lambda: stax.Dense(1, W_std=1.3, b_std=0.2)
    kernel_fn = stax.serial(dense(), stax.Erf(), dense(), stax.Erf(), dense())[2]
    y, rate, steps = np.sign(RNG.normal(size=5)), 0.9, np.array([0.0, 2.0, 30.0])
    theirs = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x[:5], y[:, None], learning_rate=rate)
    get = "ntk" if trained == "all" else "nngp"
    ours = et.gaussian_processes.training_process(kernels, x[:5], y, x[5:], learning_rate=rate, trained=trained)
    if trained == "all":
        expected = theirs(t=steps, x_test=x[5:], get=get, compute_cov=True)
        found = ours.at(time=rate * steps)
        np.testing.assert_allclose(found.mean, expected.mean[..., 0], atol=1e-5)
        np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-5)
    expected = theirs(t=None, x_test=x[5:], get=get, compute_cov=True)
    found = ours.at(time=np.inf)
    np.testing.assert_allclose(found.mean, expected.mean[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-5)


@needs_neural_tangents
def test_last_layer_training_ends_in_the_posterior_and_full_training_does_not():
    x = np.asarray(et.sample_inputs(jax.random.key(5), 8, 6))
    kernels = infinite_width.fully_connected("relu", depth=2)
    y, k = np.sign(RNG.normal(size=5)), np.asarray(kernels(x).nngp)
    mean = k[5:, :5] @ np.linalg.solve(k[:5, :5], y)
    covariance = k[5:, 5:] - k[5:, :5] @ np.linalg.solve(k[:5, :5], k[:5, 5:])
    process = lambda trained: et.gaussian_processes.training_process(
        kernels, x[:5], y, x[5:], learning_rate=1.0, trained=trained
    )
    last = process("last").at(time=np.inf)
    np.testing.assert_allclose(last.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(last.covariance, covariance, atol=1e-6)
    ends = process("all").at(time=np.inf)
    ntk = np.asarray(kernels(x).ntk)
    posterior = ntk[5:, 5:] - ntk[5:, :5] @ np.linalg.solve(ntk[:5, :5], ntk[:5, 5:])
    assert np.abs(ends.covariance - posterior).max() > 0.02 and np.abs(ends.covariance - covariance).max() > 0.002
    np.testing.assert_allclose(process("all").at(steps=0).covariance, k[5:, 5:], atol=1e-9)
    learned = np.eye(5) - scipy.linalg.expm(-ntk[:5, :5] * 3.0 / 5)
    gain = ntk[5:, :5] @ np.linalg.solve(ntk[:5, :5], learned)
    half_way, both = process("all").at(time=3.0), np.hstack([-gain, np.eye(3)])
    np.testing.assert_allclose(half_way.mean, gain @ y, rtol=1e-6)
    np.testing.assert_allclose(half_way.covariance, both @ k @ both.T, atol=1e-6)


def test_a_process_trains_with_the_momentum_and_the_rate_that_it_is_given():
    """The mean is the outputs from 0, and A y is what heavy ball makes of them, step by step."""
    x, beta, rate = RNG.normal(size=(8, 3)), 0.8, 0.4
    kernel = lambda a, b=None: a @ (a if b is None else b).T + 1.0
    kernels = lambda a, b=None: et.deep_kernels.Kernels(nngp=kernel(a, b) / 2, ntk=kernel(a, b))
    y = RNG.normal(size=5)
    process = et.gaussian_processes.training_process(kernels, x[:5], y, x[5:], learning_rate=rate, momentum=beta)
    moved, velocity = np.zeros((8, 5)), np.zeros((5, 5))  # the outputs of each unit label, from 0
    for step in range(9):
        if step in (0, 3, 8):
            found = process.at(steps=step)
            both = np.hstack([-moved[5:], np.eye(3)])
            np.testing.assert_allclose(found.mean, moved[5:] @ y, atol=1e-10)
            np.testing.assert_allclose(found.covariance, both @ kernel(x) / 2 @ both.T, atol=1e-10)
        velocity = beta * velocity + (moved[:5] - np.eye(5)) / 5
        moved = moved - rate * kernel(x, x[:5]) @ velocity


@needs_neural_tangents
def test_a_frozen_bias_stays_in_the_outputs():
    """The last layer over fixed features, trained to the end from every start: the end is affine in the start."""
    x, bias_std = np.asarray(et.sample_inputs(jax.random.key(5), 8, 6)), 0.7
    kernels = infinite_width.fully_connected("erf", depth=2, weight_std=1.3, bias_std=bias_std)
    process = lambda **options: et.gaussian_processes.training_process(
        kernels, x[:5], y, x[5:], learning_rate=1.0, **({"trained": "last", "frozen_bias_std": bias_std} | options)
    )
    y, features = np.sign(RNG.normal(size=5)), np.linalg.cholesky(np.asarray(kernels(x).nngp) - bias_std**2)

    def end(weights, bias):
        start = features @ weights + bias
        return start[5:] + features[5:] @ np.linalg.lstsq(features[:5], y - start[:5], rcond=None)[0]

    mean = end(np.zeros(8), 0.0)
    draws = [end(unit, 0.0) - mean for unit in np.eye(8)] + [end(np.zeros(8), bias_std) - mean]
    found = process().at(time=np.inf)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.transpose(draws) @ np.array(draws), atol=1e-7)
    assert np.abs(found.covariance - process(frozen_bias_std=0.0).at(time=np.inf).covariance).max() > 1e-3
    for wrong in ({"frozen_bias_std": 1.5}, {"frozen_bias_std": -0.1}, {"trained": "all"}):
        with refused("frozen_bias_std"):
            process(**wrong)


@pytest.mark.parametrize(
    "name, call",
    [
        ("kernel", lambda: et.kernel_dynamics(KERNEL[:3], Y, learning_rate=1.0)),
        ("kernel", lambda: et.kernel_dynamics(KERNEL, Y[:3], learning_rate=1.0)),
        ("kernel", lambda: et.kernel_dynamics(KERNEL * np.nan, Y, learning_rate=1.0)),
        ("kernel", lambda: et.kernel_dynamics(KERNEL[0], Y, learning_rate=1.0)),
        ("kernel", lambda: et.kernel_dynamics(KERNEL, Y[:, None, None], learning_rate=1.0)),
        ("learning_rate", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=0.0)),
        ("momentum", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0, momentum=1.0)),
        ("steps", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict()),
        ("steps", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(steps=[1], time=[1.0])),
        ("steps", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(steps=[0.5])),
        ("time", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(time=-1.0)),
        ("time", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(time=[])),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[1.0, 1.0], start=START)),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=1.0, start=START)),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[0.0, 1.0], start=START)),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[-1.0, 1.0], start=START)),
        ("loss", lambda: et.loss_flow(KERNEL, Y, loss="hinge", time=[1.0], start=START)),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[], start=START)),
        ("time", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[1.0, np.inf], start=START)),
        ("kernel", lambda: et.loss_flow(KERNEL[:3], Y, loss="squared", time=[1.0], start=START)),
        ("kernel", lambda: et.loss_flow(KERNEL * np.nan, Y, loss="squared", time=[1.0], start=START)),
        ("y", lambda: et.loss_flow(KERNEL, Y[:3], loss="squared", time=[1.0], start=START)),
        ("y", lambda: et.loss_flow(KERNEL, Y * np.nan, loss="squared", time=[1.0], start=START)),
        ("start", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[1.0], start=0.0)),
        ("start", lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[1.0], start=START[:, None])),
        (
            "kernel_new",
            lambda: et.loss_flow(KERNEL, Y, loss="squared", time=[1.0], start=START, kernel_new=KERNEL_NEW.T),
        ),
        ("start", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(START[:, None], steps=1)),
        (
            "kernel_new",
            lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(steps=1, kernel_new=KERNEL_NEW.T),
        ),
        ("kernel_new", lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).transfer(KERNEL_NEW.T, steps=1)),
        (
            "start_new",
            lambda: et.kernel_dynamics(KERNEL, Y, learning_rate=1.0).predict(
                steps=1, kernel_new=KERNEL_NEW, start_new=START_NEW[:, None]
            ),
        ),
        (
            "trained",
            lambda: et.gaussian_processes.training_process(None, X_NONE, Y, X_NONE, learning_rate=1.0, trained="first"),
        ),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()


X_NONE = np.zeros((N, 2))


@pytest.mark.parametrize("steps", [[], [-1, 2], [2, -1], -1, 1.0, [0.0, 1.0]])
def test_what_are_no_steps(steps):
    with refused("steps", saying="expected whole numbers >= 0"):
        _solver._check_when(steps, None)


def test_exactly_one_of_steps_and_time_is_asked_for():
    for time in ([], [-1.0, 2.0], [2.0, -1e-9]):
        with refused("time", saying="expected numbers >= 0"):
            _solver._check_when(None, time)
    for neither_or_both in ((None, None), (1, 1.0)):
        with refused("steps", saying="exactly one"):
            _solver._check_when(*neither_or_both)
    for steps, time in ((0, None), ([0, 3], None), (None, 0.0), (None, [0.5, 2])):
        assert _solver._check_when(steps, time) is None
