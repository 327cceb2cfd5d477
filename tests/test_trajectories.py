"""Runs that diverge do not pass unnoticed, wherever in a result they are."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.trajectories import Divergence

X, Y = jnp.eye(2), jnp.array([1.0, -1.0])


def run(learning_rate):
    return et.train(
        lambda w, x: x @ w, jnp.zeros(2), X, Y, learning_rate=learning_rate, num_steps=400, record_steps=(0, 400)
    )


FINE, DIVERGED = run(1.0), run(6.0)


@pytest.mark.parametrize(
    "hide",
    [
        lambda one: one,
        lambda one: one.without_params(),
        lambda one: one.divergence,
        lambda one: {"a": 1.0, "b": [FINE, (2.0, one)]},
        lambda one: {"size 8": {"kernel": jnp.ones(3), "runs": one.divergence}},
        lambda one: [FINE.divergence] * 3 + [one.divergence],
    ],
)
def test_a_diverged_run_is_found_in_any_pytree(hide):
    assert et.require_finite(fine := hide(FINE)) is fine
    with pytest.raises(ValueError, match=r"^learning_rate: training diverged at step \d+; .* is 4$"):
        et.require_finite(hide(DIVERGED))


def test_the_one_of_many_is_named_by_its_index():
    many = jax.vmap(jax.vmap(lambda rate: run(rate).divergence))(jnp.array([[1.0, 2.0, 1.0], [1.0, 1.0, 6.0]]))
    with pytest.raises(ValueError, match=r"diverged at step \d+ of run 1, 2; .* is 4$"):
        et.require_finite({"results": many})


def test_a_run_may_diverge_at_its_start():
    with pytest.raises(ValueError, match="diverged at step 0; .* is 2$"):
        et.require_finite(Divergence(np.array(0), 2.0))


def test_rates_per_layer_have_limits_per_layer():
    rates = {"a": np.array([np.nan, 0.5]), "b": np.array([np.nan, 0.25])}
    with pytest.raises(ValueError, match=r"step 3 of run 1; .* is \{'a': 0.5, 'b': 0.25\}"):
        et.require_finite(Divergence(np.array([-1, 3]), rates))


def test_what_may_diverge_says_so_and_is_counted(capsys):
    found = {"a": FINE, "b": DIVERGED}
    assert et.require_finite(found, may_diverge="the rate is above the limit") is found
    assert capsys.readouterr().out == "1 of 2 runs diverged, which they may: the rate is above the limit\n"
    et.require_finite(FINE, may_diverge="the rate is above the limit")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("empty", [{}, [1.0, jnp.ones(3)], {"diverged": -1}])
def test_nothing_to_look_at_is_an_error(empty):
    with pytest.raises(ValueError, match="^trajectories: expected runs"):
        et.require_finite(empty)


def test_a_record_without_parameters_keeps_the_rest():
    kept = FINE.without_params()
    assert kept.params is None and kept.state is None
    np.testing.assert_array_equal(kept.train_outputs, FINE.train_outputs)
