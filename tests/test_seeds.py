"""One program for all seeds, and for all calls that differ in values alone."""

import contextlib

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import seeds
from earlytime._stable_rates import limits_wanted
from refusals import refused
from two_devices import TwoDevices


@contextlib.contextmanager
def programs():
    """Counts what is compiled inside."""
    compiled = []

    def note(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 7])
def test_seeds_are_the_same_whatever_the_batch(batch_size):
    run = lambda key: (jax.random.normal(key, (2,)), jax.random.normal(key, (0, 3)))
    values, empty = et.over_seeds(run, 5, 4, batch_size=batch_size)
    expected = [jax.random.normal(key, (2,)) for key in jax.random.split(jax.random.key(5), 4)]
    np.testing.assert_array_equal(values, expected)
    assert empty.shape == (4, 0, 3)


def test_which_seeds_run_at_once():
    of = lambda *how: [batch.tolist() for batch in seeds._batches(*how)[0]]
    assert of(5, None, 1) == [[0, 1, 2, 3, 4]] and of(5, 1, 1) == [0, 1, 2, 3, 4]
    assert of(5, 2, 1) == [[0, 1], [2, 3], [4, 0]] and of(5, 9, 1) == [[0, 1, 2, 3, 4]]
    # As many on each of several devices.
    assert of(5, None, 2) == of(5, 9, 2) == [[0, 1, 2, 3, 4, 0]]
    assert of(5, 1, 2) == [[0, 1], [2, 3], [4, 0]] and of(5, 2, 2) == [[0, 1, 2, 3], [4, 0, 1, 2]]


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_seeds_on_several_devices_are_those_on_one(monkeypatch, batch_size):
    run = lambda key, own, scale: scale * jax.random.normal(key, (2,)) + own
    how = {"per_seed": np.arange(5.0)[:, None], "batch_size": batch_size}
    alone, asked = et.over_seeds(run, 0, 5, 2.0, **how), []
    monkeypatch.setattr(seeds, "all_devices", lambda axis: asked.append(axis) or TwoDevices())
    with jax.default_device(jax.devices()[0]):
        np.testing.assert_array_equal(et.over_seeds(run, 0, 5, 2.0, **how), alone)
    assert not asked  # who chose a device gets that one
    np.testing.assert_array_equal(et.over_seeds(run, 0, 5, 2.0, **how), alone)
    assert asked == ["seeds"]


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_data_are_arguments_of_the_program_and_not_its_constants(batch_size):
    data = {"x": np.arange(6.0).reshape(3, 2), "scale": np.float64(2.0)}

    def run(key, data, shift):
        assert all(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((data, shift)))
        return data["scale"] * data["x"] @ jax.random.normal(key, (2,)) + shift

    values = et.over_seeds(run, 5, 4, data, 1.0, batch_size=batch_size)
    keys = jax.random.split(jax.random.key(5), 4)
    expected = [2 * data["x"] @ jax.random.normal(key, (2,)) + 1 for key in keys]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_every_seed_gets_its_own_part_of_what_was_drawn_before(batch_size):
    draw = lambda key: {"x": jax.random.normal(key, (2,)), "n": jax.random.randint(key, (), 0, 9)}
    drawn = et.over_seeds(draw, 5, 4, batch_size=batch_size)
    run = lambda key, own, shift: own["x"] * own["n"].astype(float) + jax.random.normal(key, (2,)) + shift
    at_once = et.over_seeds(lambda key: run(key, draw(key), 1.0), 5, 4)
    values = et.over_seeds(run, 5, 4, 1.0, per_seed=drawn, batch_size=batch_size)
    np.testing.assert_allclose(values, at_once, rtol=1e-6)
    with refused("per_seed"):
        et.over_seeds(run, 5, 3, 1.0, per_seed=drawn, batch_size=batch_size)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("seed", (-1, 2, None)),
        ("seed", (0.5, 2, None)),
        ("seed", (2**32, 2, None)),
        ("num_seeds", (0, 0, None)),
        ("batch_size", (0, 2, 0)),
    ],
)
def test_bad_seeds_are_named(name, arguments):
    seed, num_seeds, batch_size = arguments
    with refused(name):
        et.over_seeds(lambda key: 0.0, seed, num_seeds, batch_size=batch_size)


def scaled(key, scale, dim):
    return scale * jax.random.normal(key, (dim,))


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_calls_that_differ_in_values_share_a_program(batch_size):
    call = lambda seed, scale, dim: et.over_seeds(scaled, seed, 3, scale, static={"dim": dim}, batch_size=batch_size)
    first = call(0, 1.0, 5)
    with programs() as compiled:
        twice, other_seed = call(0, 2.0, 5), call(1, 1.0, 5)
    assert compiled == []
    np.testing.assert_array_equal(twice, 2 * first)
    assert isinstance(first, np.ndarray) and not np.any(first == other_seed)
    with programs() as compiled:
        assert call(0, 1.0, 6).shape == (3, 6)
    assert len(compiled) == 1


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_keys_can_be_handed_on(batch_size):
    keys = et.over_seeds(lambda key: {"own": jax.random.fold_in(key, 1)}, 5, 3, batch_size=batch_size)
    draw = lambda key, own: jax.random.normal(own["own"], ())
    expected = [jax.random.normal(jax.random.fold_in(key, 1), ()) for key in jax.random.split(jax.random.key(5), 3)]
    np.testing.assert_array_equal(et.over_seeds(draw, 5, 3, per_seed=keys, batch_size=batch_size), expected)


def test_keys_stay_what_they_are():
    found = et.over_seeds(lambda key: jax.random.key(3, impl="rbg"), 0, 2)
    assert jax.random.key_impl(found) == jax.random.key_impl(jax.random.key(3, impl="rbg"))


def test_what_is_static_can_be_hashed():
    with refused("static"):
        et.over_seeds(scaled, 0, 2, 1.0, static={"dim": [3]})


def descend(key, x, y, rate):
    return et.train(lambda beta, x: x @ beta, jnp.zeros(3), x, y, learning_rate=rate, num_steps=99, record_steps=(99,))


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_the_first_run_that_diverges_names_its_limit(batch_size):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=7)
    limit = 14 / np.linalg.eigvalsh(x @ x.T)[-1]
    own = {"rate": limit * np.array([0.5, 0.9, 1.5, 3.0])}
    run = lambda key, own, x, y: {"runs": descend(key, x, y, own["rate"]), "other": own["rate"]}
    runs = et.over_seeds(run, 0, 4, x, y, per_seed=own, batch_size=batch_size)["runs"]
    np.testing.assert_array_equal(runs.diverged_at >= 0, [False, False, True, True])
    np.testing.assert_allclose(runs.stable_learning_rate[2], limit, rtol=1e-3)
    with pytest.raises(ValueError, match=rf"run 2; the stable limit .* is {limit:.4g}"):
        et.require_finite(runs)


def test_a_run_that_diverges_at_once_beside_one_that_does_not():
    x, y = np.eye(3), np.ones(3)

    def run(key, x, y):
        at_once = et.train(
            lambda beta, x: x @ beta, jnp.full(3, 1e200), x, y, learning_rate=1.0, num_steps=9, record_steps=(9,)
        )
        return {"calm": descend(key, x, y, 0.1), "at once": at_once}

    found = et.over_seeds(run, 0, 1, x, y)
    assert found["at once"].diverged_at == 0 and found["calm"].diverged_at == -1
    np.testing.assert_allclose(found["at once"].stable_learning_rate, 6, rtol=1e-6)
    assert np.isnan(found["calm"].stable_learning_rate)


def test_nobody_looks_for_a_limit_where_no_run_diverges():
    x, y = np.eye(3), np.ones(3)
    products = lambda limits: str(jax.make_jaxpr(lambda rate: traced(limits, rate))(0.1)).count("dot_general")

    def traced(limits, rate):
        token = limits_wanted.set(limits)
        try:
            return descend(None, x, y, rate)
        finally:
            limits_wanted.reset(token)

    assert products(False) < products(True)
