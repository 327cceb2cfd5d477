"""Which array goes where: arguments that are passed on, rows that belong together, edges, state that is carried on."""

import math

import earlytime as et
import earlytime.infinite_width as iw
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import gaussian_processes
from earlytime.claims import judge
from earlytime.curvature import output_hessian
from earlytime.krylov import krylov_dynamics
from earlytime.operators import Operator
from scipy.special import erf

KEY = jax.random.key(3)
X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.random.default_rng(1).normal(size=6)


def test_a_task_is_one_draw_cut_in_two():
    key_x, key_teacher = jax.random.split(KEY)
    x = et.sample_inputs(key_x, 20 + 30, 4)
    y = et.teacher_labels(key_teacher, x)
    for task in (et.sample_task(KEY, 20, 30, 4), jax.jit(lambda key: et.sample_task(key, 20, 30, 4))(KEY)):
        np.testing.assert_allclose(task.x, x[:20])
        np.testing.assert_allclose(task.x_test, x[20:])
        assert task.y.tolist() == y[:20].tolist() and task.y_test.tolist() == y[20:].tolist()


def test_a_teacher_is_its_formula():
    x = np.random.default_rng(2).normal(size=(400, 9))
    keys = jax.random.split(KEY)
    w = np.asarray(jax.random.normal(keys[0], (5 * 9,), dtype=x.dtype)).reshape(5, 9)
    v = np.asarray(jax.random.normal(keys[1], (5 * 9,), dtype=x.dtype))[:5]
    expected = np.sign(erf(x @ w.T / 3) @ v)
    np.testing.assert_array_equal(et.teacher_labels(KEY, x, width=5, activation="erf"), expected)
    assert np.mean(np.sign(erf(x @ w.T / 9) @ v) != expected) > 0  # another scale gives others


@pytest.mark.parametrize(
    "network",
    [
        et.fully_connected(4, 4, "tanh", depth=3, bias_std=1.0, num_outputs=4),
        et.convolutional((4, 4), 4, "tanh", depth=2, filter_size=1, bias_std=1.0, num_outputs=4),
    ],
    ids=["fully connected", "convolutional"],
)
def test_no_two_arrays_of_a_start_are_one_draw(network):
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(network.init(KEY))]
    for i, one in enumerate(leaves):
        for other in leaves[i + 1 :]:
            size = min(one.size, other.size)
            assert not np.allclose(one[:size], other[:size])


def heavy_ball(kernel, y, rate, beta, steps):
    """f on the training inputs by its own recurrence, from 0."""
    f, v = np.zeros_like(y), np.zeros_like(y)
    for _ in range(steps):
        v = beta * v + kernel @ (f - y) / len(y)
        f = f - rate * v
    return f


def test_a_training_process_has_the_momentum_it_is_given():
    kernels = iw.fully_connected("erf", depth=2)
    process = gaussian_processes.training_process(kernels, X, Y, X, learning_rate=1.0, momentum=0.8)
    expected = heavy_ball(np.asarray(kernels(X).ntk), Y, 1.0, 0.8, 7)
    np.testing.assert_allclose(process.at(steps=7).mean, expected, atol=1e-9)


def test_the_stable_limit_weighs_every_layer_with_its_own_rate():
    network = et.two_layer(3, 8, "tanh")
    params, rates = network.init(KEY), et.TwoLayerParams(w=300.0, v=7.0)
    run = et.train(network.apply, params, X, Y, learning_rate=rates, num_steps=60, record_steps=(60,))
    layers = [et.two_layer_kernel(params, X, "tanh", trained=layer).dense() for layer in ("first", "second")]
    share = 2 * len(Y) / np.linalg.eigvalsh(rates.w * layers[0] + rates.v * layers[1])[-1]
    assert run.diverged_at >= 0
    np.testing.assert_allclose(run.stable_learning_rate, (300.0 * share, 7.0 * share), rtol=1e-2)


def test_mixed_second_derivatives_are_where_they_belong():
    """f = a·x₁ b₁ + 2 a·x₂ b₂: the blocks between a and b are not symmetric by themselves."""

    def f(params, x):
        return x[:, 0] * params["a"][0] * params["b"][1] + 3 * x[:, 1] * params["a"][1] * params["b"][0] ** 2

    params = {"a": jnp.array([2.0, 5.0]), "b": jnp.array([7.0, 11.0])}
    x = np.array([1.0, 10.0])
    expected = np.zeros((4, 4))  # a₀, a₁, b₀, b₁
    expected[0, 3] = expected[3, 0] = 1.0
    expected[1, 2] = expected[2, 1] = 3 * 10 * 2 * 7.0
    expected[2, 2] = 3 * 10 * 5 * 2.0
    hessian = output_hessian(f, params, x)
    np.testing.assert_allclose(hessian.dense(), expected)
    np.testing.assert_allclose(hessian.matvec(np.arange(4.0)), expected @ np.arange(4.0))


def test_a_difference_is_as_dear_as_the_dearer_part():
    cheap = Operator.from_matrix(np.eye(6))
    dear = et.tangent_kernel(lambda w, x: x @ w, jnp.ones(3), X)
    costs = [(a - b).cheap_dense for a, b in ((cheap, cheap), (cheap, dear), (dear, cheap), (dear, dear))]
    assert costs == [True, False, False, False] and (2.0 * cheap).cheap_dense and not (2.0 * dear).cheap_dense


def test_a_run_that_goes_on_remembers_its_first_loss_and_its_divergence():
    apply_fn, start = lambda w, x: x @ w, jnp.zeros(3)
    limit = 2 * 6 / np.linalg.eigvalsh(X @ X.T)[-1]
    options = {"learning_rate": 1.2 * limit, "record_steps": (0,)}
    whole = et.train(apply_fn, start, X, Y, num_steps=400, **options)
    assert whole.diverged_at > 20
    part = et.train(apply_fn, start, X, Y, num_steps=int(whole.diverged_at) - 3, **options)
    assert part.diverged_at == -1
    rest = et.train(
        apply_fn, start, X, Y, num_steps=400, learning_rate=1.2 * limit, record_steps=(400,), state=part.state
    )
    assert rest.diverged_at == whole.diverged_at and rest.state.first_loss == whole.train_loss[0]
    more = et.train(apply_fn, start, X, Y, num_steps=410, learning_rate=0.0, record_steps=(410,), state=rest.state)
    assert more.diverged_at == whole.diverged_at


@pytest.mark.parametrize(
    ("criterion", "verdict"),
    [
        ({"at_least": 1.0}, "reproduced"),
        ({"at_most": 1.0}, "reproduced"),
        ({"at_least": 1.0, "at_most": 1.0}, "reproduced"),
        ({"at_least": math.nextafter(1.0, 2)}, "not reproduced"),
        ({"at_most": math.nextafter(1.0, 0)}, "not reproduced"),
    ],
)
@pytest.mark.parametrize("seeds", ["mean", "every"])
def test_an_end_of_an_interval_on_the_bound_is_within(criterion, verdict, seeds):
    claim = claim_of(criterion, seeds)
    finding = judge(claim, {"cases": {"": [1.0, 1.0, 1.0]}, "sizes": {}, "reason": ""})
    assert finding.verdict == verdict


def claim_of(criterion, seeds):
    some = next(iter(et.claims.load_claims().values()))
    return some._replace(criterion=criterion, seeds=seeds, requires={}, caveat="")


def test_an_interval_that_reaches_the_bound_from_outside_is_undecided():
    """Its nearer end exactly on the bound: some of it may be within."""
    low, high = et.statistics.confidence_interval(np.array([1.0, 2.0, 4.0]))
    claim = claim_of({"at_least": float(high)}, "mean")
    assert judge(claim, {"cases": {"": [1.0, 2.0, 4.0]}, "sizes": {}, "reason": ""}).verdict == "inconclusive"
    claim = claim_of({"at_most": float(low)}, "mean")
    assert judge(claim, {"cases": {"": [1.0, 2.0, 4.0]}, "sizes": {}, "reason": ""}).verdict == "inconclusive"


def test_critical_damping_is_the_limit_from_both_sides_and_its_own_solution():
    """θ'' + (1 - β) θ' + λ θ = 0 with the two roots equal: e^{-δt} (1 + δt), δ = (1 - β)/2."""
    beta = 0.5
    damping = (1 - beta) / 2
    run = {"learning_rate": 1.0, "momentum": beta}
    rho = lambda value: np.asarray(1 - et.kernel_dynamics(np.array([[value]]), np.ones(1), **run).predict(time=[2.0]))
    critical = damping**2
    expected = np.exp(-damping * 2) * (1 + damping * 2)
    assert rho(critical) == pytest.approx(expected, abs=1e-12)
    assert rho(critical * (1 - 1e-7)) == pytest.approx(expected, abs=1e-6)
    assert rho(critical * (1 + 1e-7)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_equal_roots_of_the_recurrence_are_its_own_loop(steps):
    """ηλ = (1 - √β)² and (1 + √β)², where the two-term recurrence has a double root."""
    beta = 0.49
    for eigenvalue in ((1 - 0.7) ** 2, (1 + 0.7) ** 2):
        kernel = np.array([[eigenvalue]])
        found = et.kernel_dynamics(kernel, np.ones(1), learning_rate=1.0, momentum=beta).predict(steps=steps)
        np.testing.assert_allclose(found, heavy_ball(kernel, np.ones(1), 1.0, beta, steps), rtol=1e-9, atol=1e-12)


def test_an_exhausted_krylov_space_is_exact():
    """Labels in an invariant space of two eigenvectors: two products know all, and more change nothing."""
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]
    kernel = q @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) @ q.T
    y = q[:, 1] + 0.5 * q[:, 4]
    exact = np.asarray(et.kernel_dynamics(kernel, y, learning_rate=0.3).predict(steps=[1, 5, 50]))
    for num_matvecs in (2, 3, 6):
        dynamics = krylov_dynamics(Operator.from_matrix(kernel), y, learning_rate=0.3, num_matvecs=num_matvecs)
        np.testing.assert_allclose(dynamics.coefficients([1, 5, 50]) @ kernel, exact, atol=1e-9)


def test_the_residual_of_a_negative_spectrum_bounds_the_error():
    """‖Kv - λv‖ of the vector that belongs to the largest absolute eigenvalue, here a negative one."""
    values = -np.linspace(1.0, 3.0, 600)
    products = map(jax.tree_util.Partial, (lambda u: jnp.asarray(values) * u, lambda: jnp.diag(jnp.asarray(values))))
    operator = Operator(*products, (600, 600), cheap_dense=False)
    for num_matvecs in (4, 8):
        found = et.spectral_norm(operator, key=KEY, num_matvecs=num_matvecs)
        nearest = np.min(np.abs(np.abs(values) - float(found.value)))
        assert nearest <= float(found.residual) + 1e-12 and float(found.value) <= 3.0 + 1e-12
        start = jax.random.normal(KEY, (600,))
        basis = [np.asarray(start)]
        for _ in range(num_matvecs - 1):
            basis.append(values * basis[-1])
        space = np.linalg.qr(np.stack(basis, axis=1))[0]
        ritz, vectors = np.linalg.eigh(space.T @ (values[:, None] * space))
        vector = space @ vectors[:, 0]
        assert float(found.value) == pytest.approx(-ritz[0], rel=1e-6)
        residual = np.linalg.norm(values * vector - ritz[0] * vector)
        assert float(found.residual) == pytest.approx(residual, rel=1e-4)


def test_copies_of_samples_learn_what_their_mean_label_teaches():
    """With momentum: twice the samples are the same run, and two labels of one input are their mean."""
    kernel = np.asarray(iw.fully_connected("erf", depth=1)(X).ntk)
    twice = np.tile(kernel, (2, 2))
    labels = np.concatenate([Y + 1, Y - 1])
    found = et.kernel_dynamics(twice, labels, learning_rate=0.7, momentum=0.6).predict(steps=9)
    np.testing.assert_allclose(found, np.tile(heavy_ball(kernel, Y, 0.7, 0.6, 9), 2), atol=1e-9)


def test_a_kernel_that_is_singular_in_single_precision_with_momentum():
    kernel = np.ones((4, 4)) + 1e-9 * np.eye(4)
    y = np.array([1.0, 2.0, 3.0, 4.0])
    dynamics = et.kernel_dynamics(np.asarray(kernel, np.float32), y.astype(np.float32), learning_rate=1.0, momentum=0.5)
    for steps in (3, 300):
        expected = heavy_ball(np.ones((4, 4)), y, 1.0, 0.5, steps)
        np.testing.assert_allclose(dynamics.predict(steps=steps), expected, atol=1e-5)
