"""Sums of weak models, against NumPy in float64, and the blocks of their Hessian."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.assembled_networks import AssembledParams, assemble, model_hessian_norms, neuron
from jax.flatten_util import ravel_pytree
from refusals import refused

DIM = 5
X = np.random.default_rng(0).normal(size=(7, DIM))
WEAK = et.networks.with_output(et.fully_connected(DIM, 2, "tanh", depth=1), "tanh")


def test_a_neuron_is_the_formula():
    w = np.linspace(-1, 2, DIM)
    np.testing.assert_allclose(neuron(DIM, "tanh").apply(w, X), np.tanh(X @ w / np.sqrt(DIM)), rtol=1e-12)
    draws = jax.vmap(neuron(40, "tanh").init)(jax.random.split(jax.random.key(0), 500))
    assert abs(float(draws.var()) - 1) < 0.05 and abs(float(draws.mean())) < 0.03


@pytest.mark.parametrize("scale", [1.0, 3.5])
def test_the_sum_is_the_formula(scale):
    rng = np.random.default_rng(1)
    w, v = rng.normal(size=(6, DIM)), rng.normal(size=6)
    found = assemble(neuron(DIM, "tanh"), 6, scale).apply(AssembledParams(w, v), X)
    expected = sum(v[i] * np.tanh(X @ w[i] / np.sqrt(DIM)) for i in range(6)) / scale
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_neurons_are_a_two_layer_network():
    network = et.two_layer(DIM, 8, "erf")
    params = network.init(jax.random.key(3))._replace(v=jnp.linspace(-1.0, 2.0, 8))
    found = assemble(neuron(DIM, "erf"), 8, np.sqrt(8)).apply(AssembledParams(params.w, params.v), X)
    np.testing.assert_allclose(found, network.apply(params, X), rtol=1e-10)
    norms = model_hessian_norms(neuron(DIM, "erf"), params.w, X[0])
    expected = et.curvature.two_layer_hessian_norm(params, X[0], "erf", trained="first")
    np.testing.assert_allclose(np.max(np.abs(params.v) * norms) / np.sqrt(8), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_models_start_as_of_their_own_keys_with_random_signs(dtype):
    with jax.enable_x64(dtype == np.float64):
        params = assemble(WEAK, 400, 20.0).init(jax.random.key(4))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(dtype)}
    assert set(np.unique(params.v)) == {-1, 1} and abs(float(params.v.mean())) < 0.2
    first, second = params.models[0].w[0], params.models[0].w[1]
    assert first.shape == (DIM, 2) and not np.allclose(first, second)
    assert abs(float(params.models[0].w.var()) - 1) < 0.1


def test_outputs_of_several_numbers():
    several = et.fully_connected(DIM, 2, "tanh", depth=1, num_outputs=3)
    network = assemble(several, 4, 2.0)
    params = network.init(jax.random.key(5))
    one = lambda i: several.apply(jax.tree.map(lambda leaf: leaf[i], params.models), X)
    expected = sum(float(params.v[i]) * np.asarray(one(i)) for i in range(4)) / 2
    np.testing.assert_allclose(network.apply(params, X), expected, rtol=1e-12)


@pytest.mark.parametrize("weak", [neuron(DIM, "tanh"), WEAK], ids=["neurons", "networks with tanh outputs"])
def test_the_hessian_has_one_block_per_model(weak):
    """‖H‖ = max |v_i| ‖H_i‖/s, against the dense Hessian of the whole."""
    scale, network = 1.7, assemble(weak, 5, 1.7)
    params = network.init(jax.random.key(6))._replace(v=jnp.array([0.3, -2.0, 1.0, 0.5, -0.1]))
    norms = model_hessian_norms(weak, params.models, X[0])
    flat, unravel = ravel_pytree(params.models)
    whole = jax.hessian(lambda w: network.apply(params._replace(models=unravel(w)), X[:1])[0])(flat)
    np.testing.assert_allclose(
        np.max(np.abs(params.v) * norms) / scale, np.linalg.norm(np.asarray(whole), 2), rtol=1e-10
    )


def test_gradients_add_up_in_squares():
    """‖∇f‖² = Σ v_i² ‖∇g_i‖²/s²."""
    network = assemble(neuron(DIM, "tanh"), 6, 2.5)
    params = network.init(jax.random.key(8))._replace(v=jnp.linspace(-1.0, 2.0, 6))
    fixed = lambda models, x: network.apply(params._replace(models=models), x)
    found = et.kernels.gradient_norms(fixed, params.models, X) ** 2
    slopes = 1 - np.tanh(X @ np.asarray(params.models).T / np.sqrt(DIM)) ** 2
    squares = slopes**2 @ np.linspace(-1, 2, 6) ** 2 * (X**2).sum(axis=1) / DIM
    np.testing.assert_allclose(found, squares / 2.5**2, rtol=1e-10)


def test_norms_of_more_models_than_fit_at_once(monkeypatch):
    models = jax.random.normal(jax.random.key(9), (11, DIM))
    whole = model_hessian_norms(neuron(DIM, "tanh"), models, X[0])
    monkeypatch.setattr(et.assembled_networks, "_AT_ONCE", 4)
    np.testing.assert_allclose(model_hessian_norms(neuron(DIM, "tanh"), models, X[0]), whole, rtol=1e-12)
    np.testing.assert_allclose(model_hessian_norms(neuron(DIM, "tanh"), models[:1], X[0]), whole[:1], rtol=1e-12)
    u = np.asarray(models) @ X[0] / np.sqrt(DIM)
    second = -2 * np.tanh(u) * (1 - np.tanh(u) ** 2)
    np.testing.assert_allclose(whole, np.abs(second) * (X[0] ** 2).sum() / DIM, rtol=1e-10)


def test_weights_stay_fixed_at_the_rate_zero():
    network = assemble(neuron(DIM, "tanh"), 4, 2.0)
    start = network.init(jax.random.key(10))
    rate = AssembledParams(models=0.5, v=0.0)
    run = et.train(network.apply, start, X, np.ones(7), learning_rate=rate, num_steps=3, record_steps=(0, 3))
    np.testing.assert_array_equal(run.params.v, start.v)
    assert run.train_loss[1] < run.train_loss[0] and not np.allclose(run.params.models, start.models)


def test_equal_arguments_give_equal_networks():
    assert neuron(3, "erf") is neuron(dim=3, activation="erf")
    assert assemble(WEAK, 4, 2) is assemble(WEAK, count=4, scale=2.0)
    assert assemble(WEAK, 4, 2.0) != assemble(WEAK, 4, 3.0)


@pytest.mark.parametrize(
    "name, call",
    [
        ("dim", lambda: neuron(0, "erf")),
        ("activation", lambda: neuron(3, "gelu2")),
        ("count", lambda: assemble(WEAK, 0, 1.0)),
        ("count", lambda: assemble(WEAK, 2.0, 1.0)),
        ("scale", lambda: assemble(WEAK, 4, 0.0)),
        ("scale", lambda: assemble(WEAK, 4, -1.0)),
        ("scale", lambda: assemble(WEAK, 4, np.nan)),
        ("scale", lambda: jax.jit(lambda s: assemble(WEAK, 4, s).apply(None, X))(2.0)),
        ("x_single", lambda: model_hessian_norms(neuron(2, "erf"), np.ones((3, 2)), np.array([1.0, np.inf]))),
        ("models", lambda: model_hessian_norms(neuron(2, "erf"), (), np.ones(2))),
        ("models", lambda: model_hessian_norms(neuron(2, "erf"), (np.ones((3, 2)), np.ones(2)), np.ones(2))),
        ("models", lambda: model_hessian_norms(neuron(2, "erf"), np.float64(1.0), np.ones(2))),
        ("models", lambda: model_hessian_norms(neuron(2, "erf"), np.ones((0, 2)), np.ones(2))),
        ("models", lambda: model_hessian_norms(neuron(2, "erf"), np.ones((3, 2), int), np.ones(2))),
        ("apply_fn", lambda: model_hessian_norms(_two_outputs(), _two_outputs_models(), np.ones(2))),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()


def _two_outputs():
    return et.fully_connected(2, 2, "erf", depth=1, num_outputs=2)


def _two_outputs_models():
    return assemble(_two_outputs(), 3, 1.0).init(jax.random.key(0)).models
