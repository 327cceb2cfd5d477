import earlytime as et
import jax
import numpy as np
from refusals import refused


def trained(task, steps, **options):
    network = et.two_layer(4, 6, "erf")
    options = {"learning_rate": 3.0, "num_steps": steps[-1], "record_steps": steps} | options
    return et.train(network.apply, network.init(jax.random.key(1)), task.x, task.y, **options)


def test_comparison_is_its_definitions():
    task = et.sample_task(jax.random.key(0), 20, 7, 4)
    task = task._replace(y=6 * task.y)  # far apart in places, so that the cut at 1 is seen
    steps = (0, 3, 30)
    run = trained(task, steps, x_test=task.x_test)
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=4, trace_sigma_squared=4.0)
    model = et.linear_model(features, task.x, task.y, learning_rate=3.0)
    compared = et.compare(run, model, *task)
    for k, step in enumerate(steps):
        on_train, on_test = (np.asarray(model.predict(x, step)) for x in (task.x, task.x_test))
        f_train, f_test = np.asarray(run.train_outputs[k]), np.asarray(run.test_outputs[k])
        half = lambda errors: np.mean(np.asarray(errors) ** 2) / 2
        expected = {
            "network_train_loss": half(f_train - task.y),
            "linear_train_loss": half(on_train - task.y),
            "network_test_loss": half(f_test - task.y_test),
            "linear_test_loss": half(on_test - task.y_test),
            "train_discrepancy": 2 * half(f_train - on_train),
            "test_discrepancy": 2 * half(f_test - on_test),
            "population_discrepancy": np.mean(np.minimum((f_test - on_test) ** 2, 1)),
            "linear_test_power": 2 * half(on_test),
        }
        for field, value in expected.items():
            np.testing.assert_allclose(getattr(compared, field)[k], value, rtol=1e-9, atol=1e-15)
    assert np.all(compared.population_discrepancy[1:] < compared.test_discrepancy[1:])
    np.testing.assert_allclose(compared.linear_limit_loss, half(model.predict(task.x, 10**7) - task.y), rtol=1e-6)
    assert et.require_finite(compared) is compared
    assert compared.diverged_at == -1 and np.isnan(compared.stable_learning_rate)
    assert compared.steps.tolist() == list(steps)
    for inputs in ("train", "test", "population"):
        gaps = np.asarray(getattr(compared, f"{inputs}_discrepancy"))
        largest = [float(compared.largest_gap(inputs, until=until)) for until in (0, 2, 3, 29, 30, 100)]
        assert largest == [0.0, 0.0, gaps[1], gaps[1], gaps.max(), gaps.max()]
        assert gaps[2] > gaps[1] > 0  # so that it matters where to stop


def test_the_largest_gap_is_one_per_seed():
    never = et.comparison.Comparison(*[np.zeros(())] * 12)
    seeds = never._replace(
        steps=np.array([[0, 5, 9], [0, 5, 9]]), test_discrepancy=np.array([[0.0, 3.0, 1.0], [0.0, 2.0, 7.0]])
    )
    assert seeds.largest_gap("test", until=9).tolist() == [3.0, 7.0]
    assert seeds.largest_gap("test", until=8).tolist() == [3.0, 2.0]
    with refused("inputs"):
        seeds.largest_gap("fresh", until=9)
    with refused("until"):
        seeds.largest_gap("test", until=-1)
    with refused("until"):  # nothing to look at in one of the runs
        seeds._replace(steps=np.array([[0, 5, 9], [6, 7, 9]])).largest_gap("test", until=5)


def test_outputs_on_the_test_set_are_needed():
    task = et.sample_task(jax.random.key(0), 8, 3, 4)
    run = trained(task, (0, 1))
    model = et.linear_model(lambda x: x, task.x, task.y, learning_rate=1.0)
    with refused("trajectory", saying="pass x_test"):
        et.compare(run, model, *task)


def test_several_outputs_and_a_start_that_is_not_zero():
    """Against a loop of gradient descent on βᵀψ(x) from the network's own outputs, in NumPy."""
    task = et.sample_task(jax.random.key(0), 20, 7, 4)
    y, y_test = (np.stack([3 * each, each**2], axis=1) for each in map(np.asarray, (task.y, task.y_test)))
    network = et.fully_connected(4, 16, "tanh", depth=1, num_outputs=2)
    params = network.init(jax.random.key(1))
    steps, rate = (0, 2, 9), 0.3
    run = et.train(
        network.apply, params, task.x, y, learning_rate=rate, num_steps=9, record_steps=steps, x_test=task.x_test
    )
    start = lambda x: network.apply(params, x)
    features = et.early_time_features(et.gaussian_moments("tanh"), trained="both", dim=4, trace_sigma_squared=4.0)
    model = et.linear_model(features, task.x, y, learning_rate=rate, start=start)
    compared = et.compare(run, model, task.x, y, task.x_test, y_test)

    (psi, f_0), (psi_test, f_test) = ((np.asarray(features(x)), np.asarray(start(x))) for x in (task.x, task.x_test))
    beta, expected = np.zeros((psi.shape[1], 2)), {}
    for step in range(10):
        expected[step] = f_0 + psi @ beta, f_test + psi_test @ beta
        beta -= rate / 20 * psi.T @ (f_0 + psi @ beta - y)
    assert np.abs(f_0).min(axis=0).max() > 0.01
    for k, step in enumerate(steps):
        on_train, on_test = expected[step]
        np.testing.assert_allclose(model.predict(task.x, step), on_train, atol=1e-9)
        half = lambda errors: np.mean(np.sum(np.asarray(errors) ** 2, axis=1)) / 2
        gap = np.sum((run.test_outputs[k] - on_test) ** 2, axis=1)
        for field, value in {
            "linear_train_loss": half(on_train - y),
            "network_test_loss": half(run.test_outputs[k] - y_test),
            "linear_test_loss": half(on_test - y_test),
            "train_discrepancy": 2 * half(run.train_outputs[k] - on_train),
            "test_discrepancy": np.mean(gap),
            "population_discrepancy": np.mean(np.minimum(gap, 1)),
            "linear_test_power": 2 * half(on_test),
        }.items():
            np.testing.assert_allclose(getattr(compared, field)[k], value, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(compared.linear_limit_loss, half(model.predict(task.x, 10**7) - y), rtol=1e-6)
    np.testing.assert_allclose(
        model.coefficients(9), et.linear_model(features, task.x, y - f_0, learning_rate=rate).coefficients(9)
    )
    one = et.linear_model(features, task.x, y[:, 0], learning_rate=rate, start=lambda x: start(x)[:, 0])
    np.testing.assert_allclose(one.predict(task.x, steps), model.predict(task.x, steps)[:, :, 0], atol=1e-12)
    with refused("start"):
        et.linear_model(features, task.x, y, learning_rate=rate, start=lambda x: start(x)[:, 0])
