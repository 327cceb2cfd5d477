"""Networks and parameters as users bring them, against finite sums of gradients in float64."""

import earlytime as et
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _networks
from earlytime.curvature import output_hessian
from earlytime.kernels import gradient_norms, parameter_distance
from refusals import refused

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.sign(X[:, 0])
W = np.random.default_rng(1).normal(size=(3, 4))


def plain(w, x):
    return jnp.tanh(x @ w).sum(1)


def uses(apply_fn, params, x=X, y=Y):
    """Every public function that takes a network, as calls."""
    network = et.Network(lambda key: params, apply_fn)
    run = {"learning_rate": 0.1, "num_steps": 2, "record_steps": (0, 2)}
    return {
        "tangent_kernel": lambda: et.tangent_kernel(apply_fn, params, x),
        "gradient_norms": lambda: gradient_norms(apply_fn, params, x),
        "output_hessian": lambda: output_hessian(apply_fn, params, x[0]),
        "hessian_norm": lambda: et.hessian_norm(apply_fn, params, x[0], key=KEY),
        "train": lambda: et.train(apply_fn, params, x, y, **run),
        "linearize": lambda: et.train(et.linearize(network).apply, et.linearize(network).init(KEY), x, y, **run),
        "symmetric": lambda: et.train(et.symmetric(network).apply, et.symmetric(network).init(KEY), x, y, **run),
    }


def normalized(w, x):
    h = jnp.tanh(x @ w)
    return ((h - h.mean(0, keepdims=True)) / jnp.sqrt(h.var(0, keepdims=True) + 0.1)).sum(1)


def attending(w, x):
    h = x @ w
    return (jax.nn.softmax(h @ h.T) @ h).sum(1)


def keyed_dropout(w, x):
    return (jnp.tanh(x @ w) * jax.random.bernoulli(jax.random.key(3), 0.5, (len(x), 4)).astype(w.dtype)).sum(1)


def by_the_dice(w, x):
    return plain(w, x) * np.random.normal()


@pytest.mark.parametrize("name", uses(plain, W))
@pytest.mark.parametrize("mixes", [normalized, attending, keyed_dropout, by_the_dice], ids=lambda f: f.__name__)
def test_a_network_that_mixes_samples_or_rolls_dice_is_refused(mixes, name):
    with refused("apply_fn", saying="Batch normalization"):
        uses(mixes, W)[name]()


@pytest.mark.parametrize("x", [X[:1], np.r_[X[:3], X[:3]], np.repeat(X[:2], 4, 0)], ids=["one", "twice", "copies"])
def test_mixing_is_found_among_few_samples_and_copies(x):
    for name in ("tangent_kernel", "gradient_norms", "train"):
        with refused("apply_fn"):
            uses(normalized, W, x, np.ones(len(x)))[name]()


def test_what_samples_are():
    for x in (np.ones(3), np.ones((1, 3)), np.ones((2, 3, 4))):
        assert _networks.as_samples("x", x).shape == x.shape
    for x in (np.ones(()), np.ones(0), np.ones((0, 3))):
        with refused("x"):
            _networks.as_samples("x", x)


def test_what_outputs_are():
    trained, rest = _networks.partition(W)
    check = lambda f, **how: _networks.check_outputs(lambda w, x: f(x @ w), trained, rest, X, **how)
    assert check(lambda h: h[:, 0]).shape == (6,) and check(lambda h: h).shape == (6, 4)
    assert check(lambda h: h[:, :1], one=True).shape == (6, 1) and check(lambda h: h[:, 0], one=True).shape == (6,)
    for f in (lambda h: (h, h), lambda h: h[:, :, None], lambda h: h[:5], lambda h: h[:5, 0], lambda h: h[0, 0]):
        with refused("apply_fn"):
            check(f)
    with refused("apply_fn"):
        check(lambda h: h, one=True)
    with refused("apply_fn", saying="real"):
        check(lambda h: jnp.round(h).astype(int))


def test_outputs_of_zero_and_what_rounding_does_beside_them_are_no_mixing():
    rounded = lambda w, x: (x @ w) * jnp.array([[0.0, 1, 1, 1]]) * (1 + 1e-12 * len(x))
    for f in (lambda w, x: 0 * (x @ w), rounded):
        assert et.tangent_kernel(f, W, X).shape == (24, 24)


def test_mixing_that_only_some_samples_feel_is_found():
    with refused("apply_fn"):
        et.tangent_kernel(lambda w, x: plain(w, x) + jnp.abs(x[:, 0] - x[-1, 0]) * x.sum(), W, X)


@pytest.mark.parametrize("scale", [0.0, np.zeros((1, 4))], ids=["number", "array"])
def test_mixing_behind_a_scale_that_starts_at_zero_is_found(scale):
    """As the last normalization of a residual block does in many recipes."""
    with refused("apply_fn", saying="Batch normalization"):
        et.tangent_kernel(
            lambda p, x: (p["scale"] * normalized(p["w"], x)[:, None]).sum(1), {"w": W, "scale": scale}, X
        )


def test_mixing_of_test_samples_with_training_samples_is_found():
    with refused("apply_fn"):
        et.train(normalized, W, X[:1], Y[:1], x_test=X[1:2], learning_rate=0.1, num_steps=1, record_steps=(0,))
    with refused("apply_fn"):
        et.tangent_kernel(normalized, W, X[:1], X[1:2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_rounding_does_is_no_mixing(dtype):
    coarse = lambda w, x: (jnp.tanh(x.astype(dtype) @ w.astype(dtype)) @ jnp.ones(4, dtype)).astype(w.dtype)
    for start in (np.zeros_like(W), W, 1e4 * W):
        et.tangent_kernel(coarse, start, X)
        centered = lambda w, x, start=start: coarse(w, x) - coarse(jnp.asarray(start), x)
        et.tangent_kernel(centered, start, X)


def test_one_comparison_is_compiled_for_equal_networks_and_none_while_tracing():
    _networks._comparison.cache_clear()
    for scale in (1, 2):
        et.tangent_kernel(plain, scale * W, scale * X)
    assert _networks._comparison.cache_info().misses == 1
    jax.jit(lambda w: et.tangent_kernel(plain, w, X).dense())(W)
    assert _networks._comparison.cache_info().currsize == 1


def test_what_a_network_closes_over_is_no_part_of_the_comparison():
    big = jnp.asarray(W)
    trained, rest = _networks.partition(jnp.ones(4))
    _networks._comparison.cache_clear()
    _networks.check_independent(lambda v, x: jnp.tanh(x @ big) @ v, trained, rest, X)
    leaves, treedef = jax.tree.flatten((trained, rest, np.ones((7, 3))))
    shapes = tuple((np.shape(leaf), jnp.result_type(leaf), False) for leaf in leaves)
    _, constants, _ = _networks._comparison(lambda v, x: jnp.tanh(x @ big) @ v, treedef, shapes)
    assert any(np.shape(each) == (3, 4) for each in constants)


# Leaves of every kind beside the parameters of `plain` with a scale: what f does with them must not change.
MIXED = {
    "w": W,
    "scale": 0.5,
    "heads": 2,
    "flag": True,
    "none": None,
    "name": "tanh",
    "activation": jnp.tanh,
    "count": jnp.arange(3),
    "mask": np.array([True, True, False, True]),
    "key": jax.random.key(1),
}


def mixed(p, x):
    assert isinstance(p["heads"], int) and p["flag"] is True and p["none"] is None and p["name"] == "tanh"
    h = p["activation"](x @ p["w"]) * jnp.asarray(p["mask"], float)[None, :] * jax.random.uniform(p["key"])
    return p["scale"] * h.reshape(len(x), p["heads"], -1).sum((1, 2)) * (1 + p["count"][1].astype(float))


def alike(p, x):
    """`mixed` as a function of what is trained alone."""
    return mixed(MIXED | p, x)


TRAINED = {"w": jnp.asarray(W), "scale": jnp.asarray(0.5)}


def test_leaves_that_are_no_parameters_ride_along_everywhere():
    jacobian = np.hstack([np.reshape(leaf, (6, -1)) for leaf in jax.tree.leaves(jax.jacobian(alike)(TRAINED, X))])
    kernel = et.tangent_kernel(mixed, MIXED, X)
    u = np.arange(6.0)
    np.testing.assert_allclose(kernel.dense(), jacobian @ jacobian.T, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(lambda k, u: k.matvec(u))(kernel, u), jacobian @ (jacobian.T @ u), rtol=1e-12)
    np.testing.assert_allclose(gradient_norms(mixed, MIXED, X), np.linalg.norm(jacobian, axis=1), rtol=1e-12)
    flat, unravel = jax.flatten_util.ravel_pytree(TRAINED)
    hessian = jax.hessian(lambda w: alike(unravel(w), X[:1])[0])(flat)
    np.testing.assert_allclose(output_hessian(mixed, MIXED, X[0]).dense(), hessian, atol=1e-12)
    np.testing.assert_allclose(output_hessian(mixed, MIXED, X[0]).matvec(flat), hessian @ flat, atol=1e-12)
    norm = et.hessian_norm(mixed, MIXED, X[0], key=KEY).value
    np.testing.assert_allclose(norm, np.abs(np.linalg.eigvalsh(hessian)).max(), rtol=1e-6)
    assert parameter_distance(MIXED | {"w": W + 1, "heads": 5}, MIXED) == pytest.approx(np.sqrt(12))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_training_moves_the_parameters_and_leaves_the_rest(momentum):
    run = {"num_steps": 5, "record_steps": (0, 5), "momentum": momentum, "observe": lambda p: p["scale"]}
    rates = jax.tree.map(lambda _: 0.1, MIXED)
    found = et.train(mixed, MIXED, X, Y, learning_rate=rates, **run)
    w, velocity = TRAINED, jax.tree.map(jnp.zeros_like, TRAINED)
    for _ in range(5):
        slope = jax.grad(lambda p: jnp.mean((alike(p, X) - Y) ** 2) / 2)(w)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, slope)
        w = jax.tree.map(lambda p, v: p - 0.1 * v, w, velocity)
    for name, leaf in MIXED.items():
        if name in TRAINED:
            np.testing.assert_allclose(found.params[name], w[name], rtol=1e-10)
        elif name != "key":
            np.testing.assert_array_equal(found.params[name], leaf)
    np.testing.assert_allclose(found.observed[-1], w["scale"], rtol=1e-10)
    half = et.train(mixed, MIXED, X, Y, learning_rate=0.1, num_steps=2, record_steps=(2,), momentum=momentum)
    on = et.train(mixed, MIXED, X, Y, learning_rate=0.1, state=half.state, **(run | {"record_steps": (5,)}))
    np.testing.assert_allclose(on.params["w"], w["w"], rtol=1e-10)


def test_a_linear_model_and_two_copies_of_a_network_with_such_leaves():
    network = et.Network(lambda key: MIXED, mixed)
    linear, double = et.linearize(network), et.symmetric(network)
    for built in (linear, double):
        start = built.init(KEY)
        found = et.tangent_kernel(built.apply, start, X).dense()
        np.testing.assert_allclose(found, et.tangent_kernel(mixed, MIXED, X).dense(), rtol=1e-10)
    assert np.all(double.apply(double.init(KEY), X) == 0)
    np.testing.assert_allclose(linear.apply(linear.init(KEY), X), alike(TRAINED, X), rtol=1e-12)


def test_equinox():
    model = eqx.nn.Sequential([eqx.nn.MLP(3, "scalar", 4, 1, key=KEY), eqx.nn.Dropout(0.5, inference=True)])
    apply_fn = lambda model, x: jax.vmap(model)(x)
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    on_arrays = lambda arrays, x: apply_fn(eqx.combine(arrays, static), x)
    exact = sum(
        np.sum(np.reshape(a, (6, -1)) ** 2, 1) for a in jax.tree.leaves(jax.jit(jax.jacobian(on_arrays))(arrays, X))
    )
    np.testing.assert_allclose(gradient_norms(apply_fn, model, X), np.sqrt(exact), rtol=1e-10)
    found = et.train(apply_fn, model, X, Y, learning_rate=0.1, num_steps=1, record_steps=(1,)).params
    slope = jax.jit(jax.grad(lambda arrays: jnp.mean((on_arrays(arrays, X) - Y) ** 2) / 2))(arrays)
    moved = eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, slope))
    np.testing.assert_allclose(apply_fn(found, X), apply_fn(moved, X), rtol=1e-10)


def test_statistics_of_flax_are_no_parameters():
    module = {"__module__": "flax.nnx.variablelib"}
    variable = type("Variable", (), module | {"__init__": lambda self, value: setattr(self, "value", value)})
    param, statistic = type("Param", (variable,), module), type("BatchStat", (variable,), module)
    for cls in (param, statistic):
        jax.tree_util.register_pytree_node(cls, lambda v: ((v.value,), None), lambda _, c, cls=cls: cls(*c))
    params = {"mean": statistic(jnp.ones((1, 3))), "w": param(jnp.asarray(W))}
    kernel = et.tangent_kernel(lambda p, x: plain(p["w"].value, x - p["mean"].value), params, X)
    np.testing.assert_allclose(kernel.dense(), et.tangent_kernel(plain, W, X - 1).dense(), rtol=1e-12)


@pytest.mark.parametrize("params", [{}, {"n": 3, "count": jnp.arange(2)}, {"w": 1j * W}, {"w": W, "c": 1j}])
def test_nothing_to_train_and_complex_parameters_are_refused(params):
    for call in list(uses(lambda p, x: plain(W, x), params).values())[:5]:
        with refused("params"):
            call()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("where", ["params", "x", "both"])
def test_halves_are_computed_with_in_float32(dtype, where):
    halve = lambda a, name: jnp.asarray(a, dtype) if where in (name, "both") else jnp.asarray(a, "float32")
    w, x, y = halve(W, "params"), halve(X, "x"), halve(Y, "x")
    exact_w, exact_x = np.asarray(w, float), np.asarray(x, float)
    f, exact = uses(plain, w, x, y), uses(plain, exact_w, exact_x)
    np.testing.assert_allclose(f["tangent_kernel"]().dense(), exact["tangent_kernel"]().dense(), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(
        f["tangent_kernel"]().matvec(np.arange(6)), exact["tangent_kernel"]().dense() @ np.arange(6.0), rtol=1e-4
    )
    for name in ("gradient_norms", "hessian_norm"):
        np.testing.assert_allclose(*(jax.tree.leaves(each[name]())[0] for each in (f, exact)), rtol=1e-4)
    for name in ("train", "linearize"):
        found, wanted = f[name](), exact[name]()
        assert found.train_loss.dtype == jnp.float32
        np.testing.assert_allclose(found.train_outputs, wanted.train_outputs, rtol=1e-4, atol=1e-5)


def test_one_number_per_sample_may_have_an_axis_of_its_own():
    column = lambda w, x: plain(w, x)[:, None]
    np.testing.assert_allclose(gradient_norms(column, W, X), gradient_norms(plain, W, X), rtol=1e-12)
    np.testing.assert_allclose(output_hessian(column, W, X[0]).dense(), output_hessian(plain, W, X[0]).dense())
    several = lambda w, x: jnp.tanh(x @ w)
    for name in ("gradient_norms", "output_hessian", "hessian_norm"):
        with refused("apply_fn"):
            uses(several, W)[name]()
    for name in ("tangent_kernel", "gradient_norms", "output_hessian", "train"):
        with refused("apply_fn", saying="real"):
            uses(lambda w, x: plain(w, x).astype(complex), W)[name]()


@pytest.mark.parametrize("labels", [np.uint8, np.int32, jnp.bfloat16])
def test_labels_of_other_kinds(labels):
    run = {"learning_rate": 0.1, "num_steps": 3, "record_steps": (3,)}
    for loss, y in (("squared", abs(Y) * 3), ("cross_entropy", abs(Y))):
        found = et.train(plain, W, X, y.astype(labels), loss=loss, **run)
        exact = et.train(plain, W, X, y, loss=loss, **run)
        np.testing.assert_allclose(found.train_outputs, exact.train_outputs, rtol=1e-12)
