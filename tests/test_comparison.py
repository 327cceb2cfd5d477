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


def test_outputs_on_the_test_set_are_needed():
    task = et.sample_task(jax.random.key(0), 8, 3, 4)
    run = trained(task, (0, 1))
    model = et.linear_model(lambda x: x, task.x, task.y, learning_rate=1.0)
    with refused("trajectory", saying="pass x_test"):
        et.compare(run, model, *task)
