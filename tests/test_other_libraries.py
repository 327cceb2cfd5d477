"""Networks of Flax, Equinox and Haiku, with the three lines that the documentation has for each."""

import earlytime as et
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from earlytime.diagnosis import diagnose
from flax import linen, nnx
from refusals import refused

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.sign(X[:, 0]).astype(np.float32)


@pytest.fixture(autouse=True)
def as_the_libraries_are():
    """They mix types and ranks, and compute in single precision."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Normalized(nnx.Module):
    """A network with batch normalization and dropout."""

    def __init__(self, rngs):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jnp.tanh(self.norm(self.first(x)))))[:, 0]


def of_nnx():
    model = Normalized(nnx.Rngs(0))
    model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return lambda params, x: nnx.merge(graph, params, rest)(x), params


class WithStatistics(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(16)(x))
        return linen.Dense(1)(jnp.tanh(x))[:, 0]


def of_linen():
    model = WithStatistics()
    variables = model.init(KEY, X)
    rest = {"batch_stats": variables["batch_stats"]}
    return lambda params, x: model.apply({"params": params, **rest}, x), variables["params"]


def of_equinox():
    model = eqx.nn.MLP(6, "scalar", 16, 1, activation=jnp.tanh, key=KEY)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return lambda params, x: jax.vmap(eqx.combine(params, static))(x), params


def of_haiku():
    def forward(x):
        return hk.Linear(1)(jnp.tanh(hk.Linear(16)(x)))[:, 0]

    model = hk.without_apply_rng(hk.transform(forward))
    return model.apply, model.init(jax.random.PRNGKey(0), X)


RECIPES = [of_nnx, of_linen, of_equinox, of_haiku]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_the_tangent_kernel_of_each_recipe_is_the_sum_of_its_gradients(recipe):
    apply_fn, params = recipe()
    x = X[:4]
    jacobian = jax.jacobian(lambda p: apply_fn(p, x))(params)
    flat = np.concatenate([np.asarray(leaf, float).reshape(4, -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
    found = et.tangent_kernel(apply_fn, params, x).dense()
    expected = flat @ flat.T
    # Rounding is of the size of the terms, which an entry near zero is far below.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=np.finfo(np.float32).eps * np.abs(expected).max())
    assert et.curvature.output_hessian(apply_fn, params, x[0]).shape[0] == flat.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_each_recipe_is_diagnosed(recipe):
    apply_fn, params = recipe()
    found = diagnose(apply_fn, params, X, Y, optimizer=optax.adam(1e-2), num_steps=30, progress=False)
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    assert found.sizes["parameters"] == count
    assert found.path.loss[-1] < found.path.loss[0] and 0 < found.path.remainder[-1] < 2
    assert np.isnan(found.limits.learning_rate_used) and found.limits.first_update > 1


@pytest.mark.slow
def test_a_run_of_the_user_s_own_with_dropout_and_batch_normalization():
    """Trained by AdamW with both on; followed in evaluation mode, with the statistics of the start."""
    model = Normalized(nnx.Rngs(0))
    graph, start, rest = jax.tree.map(jnp.copy, nnx.split(model, nnx.Param, ...))  # training changes it in place
    optimizer = nnx.Optimizer(model, optax.adamw(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        gradients = nnx.grad(lambda model: jnp.mean((model(X) - Y) ** 2) / 2)(model)
        optimizer.update(model, gradients)

    checkpoints = {}
    for count in range(1, 41):
        step(model, optimizer)
        if count in (1, 3, 10, 40):
            checkpoints[count] = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    frozen = nnx.merge(graph, start, rest)
    frozen.eval()
    graph, start, rest = nnx.split(frozen, nnx.Param, ...)
    apply_fn = lambda params, x: nnx.merge(graph, params, rest)(x)
    found = diagnose(apply_fn, start, X, Y, checkpoints=checkpoints, progress=False)
    assert found.path.steps.tolist() == [0, 1, 3, 10, 40]
    assert np.all(np.diff(found.path.remainder[1:]) > 0)
    last = jax.jvp(lambda p: apply_fn(p, X), (start,), (jax.tree.map(jnp.subtract, checkpoints[40], start),))
    change = apply_fn(checkpoints[40], X) - last[0]
    gap = np.linalg.norm(change - last[1]) / np.linalg.norm(change)
    assert found.path.remainder[-1] == pytest.approx(gap, rel=1e-3)


def test_networks_in_training_mode_and_states_are_refused():
    graph, params, rest = nnx.split(Normalized(nnx.Rngs(0)), nnx.Param, ...)
    with refused("apply_fn", saying="evaluation mode"):
        diagnose(lambda params, x: nnx.merge(graph, params, rest)(x), params, X, Y, progress=False)
    model = WithStatistics()
    variables = model.init(KEY, X)
    with refused("params['batch_stats']['BatchNorm_0']['mean']"):
        diagnose(model.apply, variables, X, Y, progress=False)
    training = lambda params, x: model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
    with refused("apply_fn", saying="a state"):
        diagnose(training, variables["params"], X, Y, progress=False)
    single = eqx.nn.MLP(6, "scalar", 16, 1, key=KEY)
    with refused("apply_fn", saying="jax.vmap"):
        diagnose(lambda model, x: model(x), single, X, Y, progress=False)


def test_functions_among_an_equinox_module_s_leaves_ride_along():
    model = eqx.nn.MLP(6, "scalar", 16, 1, activation=jnp.tanh, key=KEY)
    whole = et.tangent_kernel(lambda model, x: jax.vmap(model)(x), model, X[:4]).dense()
    np.testing.assert_allclose(whole, et.tangent_kernel(*of_equinox(), X[:4]).dense(), rtol=1e-6)
