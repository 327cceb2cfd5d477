import time

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _blocks
from jax.flatten_util import ravel_pytree
from refusals import refused

KEY = jax.random.key(3)
SMALL = {
    "two layers": lambda: et.two_layer(6, 12, "erf"),
    "fully connected": lambda: et.fully_connected(6, 7, "tanh", depth=3, bias_std=0.3),
    "bottleneck": lambda: et.fully_connected(6, (9, 1, 9), "tanh", depth=3),
    "convolutional": lambda: et.convolutional((6, 1), 4, "tanh", depth=2, filter_size=3),
    "residual": lambda: et.residual((6, 1), 3, "softplus", num_blocks=1),
    "symmetric": lambda: et.symmetric(et.fully_connected(6, 5, "tanh", depth=2)),
    "swish output": lambda: et.networks.with_output(et.fully_connected(6, 7, "tanh", depth=2), "swish"),
    "softmax output": lambda: et.networks.with_output(
        et.fully_connected(6, 7, "tanh", depth=2, num_outputs=3), "softmax", coordinate=1
    ),
}


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
def test_the_norm_is_that_of_the_dense_hessian(build):
    network = build()
    params, x = network.init(KEY), et.sample_inputs(jax.random.key(5), 1, 6)[0]
    flat, unravel = ravel_pytree(params)
    reverse_over_reverse = jax.jacrev(jax.grad(lambda w: network.apply(unravel(w), x[None])[0]))
    u = jax.random.normal(KEY, flat.shape)

    @jax.jit
    def both(params, flat):
        operator = et.curvature.output_hessian(network.apply, params, x)
        return et.hessian_norm(network.apply, params, x, key=KEY), operator.matvec(u), reverse_over_reverse(flat)

    measured, product, dense = both(params, flat)
    exact = np.abs(np.linalg.eigvalsh(dense)).max()
    assert abs(measured.value - exact) < 1e-4 * exact
    assert measured.residual < 0.01 * exact
    np.testing.assert_allclose(product, dense @ u, rtol=1e-8, atol=1e-12)


def test_the_dense_hessian_is_the_derivative_of_the_gradient():
    params, x = {"a": jnp.array([0.3, -0.2]), "b": jnp.array(0.7)}, jnp.array([1.0, 2.0])
    apply_fn = lambda p, x: jnp.tanh(x @ p["a"]) * p["b"]
    flat, unravel = ravel_pytree(params)
    gradient = lambda w: np.asarray(ravel_pytree(jax.grad(lambda p: apply_fn(p, x[None])[0])(unravel(w)))[0])
    step = 1e-5 * np.eye(3)
    by_differences = np.stack([(gradient(flat + e) - gradient(flat - e)) / 2e-5 for e in step])
    np.testing.assert_allclose(et.curvature.output_hessian(apply_fn, params, x).dense(), by_differences, atol=1e-8)


def test_the_bound_is_its_formula_for_inputs_that_differ():
    hessians, gradients, r = np.array([1.0, 2.0]), np.array([3.0, 5.0]), 0.5
    expected = [
        [h * r * g2 + h2 * r * g + h * h2 * r**2 for h2, g2 in zip(hessians, gradients)]
        for h, g in zip(hessians, gradients)
    ]
    np.testing.assert_allclose(et.kernels.kernel_change_bound(hessians, r, gradients), expected, rtol=1e-12)


@pytest.mark.parametrize("trained", ["first", "both", "second"])
def test_two_layers_in_closed_form(trained):
    network = et.two_layer(4, 10, "tanh")
    x = et.sample_inputs(jax.random.key(5), 1, 4)[0]
    params = network.init(KEY)._replace(v=jax.random.normal(KEY, (10,)))
    parts = {
        "first": (lambda w, x: network.apply(params._replace(w=w), x), params.w),
        "second": (lambda v, x: network.apply(params._replace(v=v), x), params.v),
        "both": (network.apply, params),
    }
    exact = np.abs(np.linalg.eigvalsh(jax.jit(et.curvature.output_hessian(*parts[trained], x).dense)())).max()
    np.testing.assert_allclose(
        et.curvature.two_layer_hessian_norm(params, x, "tanh", trained=trained), exact, rtol=1e-10, atol=1e-15
    )


def test_an_input_of_zeros_has_no_curvature():
    params = et.two_layer(4, 10, "tanh").init(KEY)
    for trained in ("first", "second", "both"):
        assert et.curvature.two_layer_hessian_norm(params, jnp.zeros(4), "tanh", trained=trained) == 0


def test_their_matrices_are_dear():
    apply = lambda w, x: x @ w**2
    assert not et.curvature.output_hessian(apply, jnp.ones(2), jnp.ones(2)).cheap_dense
    assert not et.curvature.gauss_newton(apply, jnp.ones(2), jnp.ones((3, 2)), jnp.ones(3)).cheap_dense


def test_over_inputs_and_seeds():
    network = et.fully_connected(4, 3, "tanh", depth=1)
    x = et.sample_inputs(KEY, 3, 4)

    def norms(key, x):
        one = lambda x_single: et.hessian_norm(network.apply, network.init(key), x_single, key=key).value
        return jax.vmap(one)(x)

    measured = et.over_seeds(norms, 0, 2, x)
    key = jax.random.split(jax.random.key(0), 2)[1]
    dense = et.curvature.output_hessian(network.apply, network.init(key), x[2]).dense()
    assert measured.shape == (2, 3)
    np.testing.assert_allclose(measured[1, 2], np.abs(np.linalg.eigvalsh(dense)).max(), rtol=1e-4)


def test_float32_parameters_stay_float32():
    network = et.two_layer(4, 30, "erf")
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), network.init(KEY))
    x = jnp.ones(4, jnp.float32)
    norm = et.hessian_norm(network.apply, params, x, key=KEY)
    assert norm.value.dtype == np.float32
    np.testing.assert_allclose(
        norm.value, et.curvature.two_layer_hessian_norm(params, x, "erf", trained="both"), rtol=1e-4
    )


def test_a_linear_model_has_no_curvature():
    norm = et.hessian_norm(lambda w, x: x @ w, jnp.ones(5), jnp.ones(5), key=KEY)
    assert norm.value == 0 and norm.residual == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hessian_that_is_not_finite_says_so_twice(bad):
    network = et.fully_connected(4, 6, "tanh", depth=2)
    params = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(bad), network.init(KEY))
    norm = et.hessian_norm(network.apply, params, jnp.ones(4), key=KEY)
    assert np.isnan(norm.value) and np.isnan(norm.residual)


def test_an_output_adds_the_square_of_the_gradient():
    """ψ'(f) H + ψ''(f) ∇f ∇fᵀ, whose second term has the norm |ψ''| ‖∇f‖²."""
    network = et.fully_connected(6, 7, "tanh", depth=2)
    params, x = network.init(KEY), et.sample_inputs(jax.random.key(5), 1, 6)[0]
    psi = lambda f: f + f**2
    f = network.apply(params, x[None])[0]
    gradient = ravel_pytree(jax.grad(lambda p: network.apply(p, x[None])[0])(params))[0]
    expected = (1 + 2 * f) * et.curvature.output_hessian(network.apply, params, x).dense() + 2 * jnp.outer(
        gradient, gradient
    )
    measured = et.curvature.output_hessian(et.networks.with_output(network, psi).apply, params, x).dense()
    np.testing.assert_allclose(measured, expected, atol=1e-12)
    np.testing.assert_allclose(
        et.kernels.gradient_norms(network.apply, params, x[None])[0], jnp.linalg.norm(gradient), rtol=1e-12
    )


def test_gradient_norms_are_the_kernels_diagonal():
    network = et.fully_connected(6, 5, "tanh", depth=2)
    params, x = network.init(KEY), et.sample_inputs(KEY, 4, 6)
    diagonal = jnp.diagonal(et.tangent_kernel(network.apply, params, x).dense())
    np.testing.assert_allclose(et.kernels.gradient_norms(network.apply, params, x) ** 2, diagonal, rtol=1e-10)


def test_the_bound_holds_and_is_reached():
    """For f = w²/2 the Hessian is 1 everywhere and the gradient w: the inequality is an equality."""
    kernel = lambda w: w**2
    bound = et.kernels.kernel_change_bound(jnp.ones(2), 0.5, jnp.full(2, 3.0))
    np.testing.assert_allclose(bound, np.full((2, 2), kernel(3.5) - kernel(3.0)))
    network, x = et.fully_connected(4, 8, "tanh", depth=1), et.sample_inputs(KEY, 5, 4)
    start = network.init(KEY)
    end = jax.tree.map(lambda leaf: leaf + 0.2 * jax.random.normal(jax.random.key(9), leaf.shape), start)
    between = lambda s: jax.tree.map(lambda a, b: a + s * (b - a), start, end)
    dense = jax.jit(lambda p, x: et.curvature.output_hessian(network.apply, p, x).dense())
    norms = [[np.abs(np.linalg.eigvalsh(dense(between(s), one))).max() for one in x] for s in np.linspace(0, 1, 11)]
    bound = et.kernels.kernel_change_bound(
        jnp.max(jnp.asarray(norms), axis=0),
        et.kernels.parameter_distance(end, start),
        et.kernels.gradient_norms(network.apply, start, x),
    )
    kernels = [et.tangent_kernel(network.apply, params, x).dense() for params in (start, end)]
    change = np.abs(np.asarray(kernels[1] - kernels[0]))
    assert np.all(change <= bound) and np.max(change / bound) > 0.02
    relative = et.kernels.kernel_change(jnp.stack(kernels))
    np.testing.assert_allclose(relative, [0, np.linalg.norm(change) / np.linalg.norm(kernels[0])], rtol=1e-10)


@pytest.mark.parametrize(
    "name, call",
    [
        ("x_single", lambda: et.hessian_norm(lambda w, x: x @ w, jnp.ones(2), jnp.array([1.0, np.nan]), key=KEY)),
        ("apply_fn", lambda: et.hessian_norm(lambda w, x: x, jnp.ones(2), jnp.ones(2), key=KEY)),
        ("num_matvecs", lambda: et.hessian_norm(lambda w, x: x @ w, jnp.ones(2), jnp.ones(2), key=KEY, num_matvecs=0)),
        (
            "trained",
            lambda: et.curvature.two_layer_hessian_norm(
                et.two_layer(2, 4, "erf").init(KEY), jnp.ones(2), "erf", trained="all"
            ),
        ),
        (
            "x_single",
            lambda: et.curvature.two_layer_hessian_norm(
                et.two_layer(2, 4, "erf").init(KEY), jnp.ones(3), "erf", trained="both"
            ),
        ),
        (
            "x_single",
            lambda: et.curvature.two_layer_hessian_norm(
                et.two_layer(2, 4, "erf").init(KEY), jnp.array([1.0, np.inf]), "erf", trained="both"
            ),
        ),
        ("kernels", lambda: et.kernels.kernel_change(jnp.ones((2, 3)))),
        ("hessian_norms", lambda: et.kernels.kernel_change_bound(jnp.array([-1.0, 1.0]), 1.0, jnp.ones(2))),
        ("distance", lambda: et.kernels.kernel_change_bound(jnp.ones(2), -1.0, jnp.ones(2))),
        ("distance", lambda: et.kernels.kernel_change_bound(jnp.ones(2), np.nan, jnp.ones(2))),
        ("gradient_norms", lambda: et.kernels.kernel_change_bound(jnp.ones(2), 1.0, jnp.array([1.0, np.inf]))),
        ("hessian_norms", lambda: et.kernels.kernel_change_bound(jnp.ones(2), 1.0, jnp.ones(3))),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()


@pytest.mark.slow
def test_a_million_parameters():
    """Width 16,384 with 64 inputs: the dense Hessian would have 10¹² entries."""
    network = et.two_layer(64, 16_384, "tanh")
    as_float32 = lambda tree: jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)
    params, x = as_float32(network.init(KEY)), as_float32(et.sample_inputs(KEY, 1, 64)[0])
    exact = et.curvature.two_layer_hessian_norm(params, x, "tanh", trained="both")
    run = lambda p, x: et.hessian_norm(network.apply, p, x, key=KEY, num_matvecs=200)
    program = jax.jit(run).lower(params, x).compile()
    start = time.process_time()
    norm = jax.block_until_ready(program(params, x))
    assert time.process_time() - start < 20  # seconds of the processor, whatever else the machine does
    assert abs(norm.value - exact) < 1e-4 * exact
    assert norm.residual < 0.02 * norm.value
    # None of the 200 vectors is kept but the last two.
    assert program.memory_analysis().temp_size_in_bytes < 8 * 4 * 65 * 16_384


def softmax_curvature(outputs):
    p = np.asarray(jax.nn.softmax(outputs), np.float64)
    return np.einsum("ia,ab->iab", p, np.eye(p.shape[1])) - np.einsum("ia,ib->iab", p, p)


@pytest.mark.parametrize("case", ["squared", "classes", "probabilities", "signs", "own"])
def test_the_gauss_newton_matrix_is_its_sum_over_samples(case):
    k = None if case == "signs" else 3
    network = et.fully_connected(4, 6, "tanh", depth=1, **({} if k is None else {"num_outputs": k}))
    params, x = network.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (7, 4))
    outputs = np.asarray(network.apply(params, x))
    classes = np.arange(7) % 3
    if case == "squared":
        y, loss, second = np.ones((7, 3)), "squared", np.broadcast_to(np.eye(3), (7, 3, 3))
    elif case == "signs":
        y, loss = np.array([1, -1, 1, 1, -1, 1, -1]), "cross_entropy"
        second = (1 / (2 + np.exp(outputs) + np.exp(-outputs))).reshape(7, 1, 1)
    elif case == "own":
        y, loss = np.zeros((7, 3)), lambda out, y: jnp.sum(out**4, axis=1)
        second = 12 * np.einsum("ia,ab->iab", outputs**2, np.eye(3))
    else:
        y, loss = classes if case == "classes" else np.eye(3)[classes], "cross_entropy"
        second = softmax_curvature(outputs)
    jacobian = jax.jacobian(lambda p: network.apply(p, x))(params)
    flat = np.concatenate([np.asarray(leaf).reshape(7, k or 1, -1) for leaf in jax.tree.leaves(jacobian)], axis=2)
    expected = np.einsum("iap,iab,ibq->pq", flat, second, flat) / 7
    found = et.curvature.gauss_newton(network.apply, params, x, y, loss=loss)
    np.testing.assert_allclose(found.dense(), expected, atol=1e-10)
    u = np.random.default_rng(0).normal(size=len(expected))
    np.testing.assert_allclose(found.matvec(u), expected @ u, atol=1e-10)


def test_its_limit_is_that_of_the_tangent_kernel_and_blocks_do_not_matter(monkeypatch):
    network, x = et.two_layer(4, 8, "erf"), jax.random.normal(jax.random.key(1), (7, 4))
    params = network.init(jax.random.key(0))
    limit = et.kernels.stable_learning_rate(et.tangent_kernel(network.apply, params, x).dense())
    whole = et.curvature.gauss_newton(network.apply, params, x, jnp.zeros(7))
    assert 2 / np.linalg.eigvalsh(whole.dense())[-1] == pytest.approx(float(limit))
    u = jnp.arange(40.0)
    monkeypatch.setattr(_blocks, "_CPU_BLOCK", 3)
    np.testing.assert_allclose(
        et.curvature.gauss_newton(network.apply, params, x, jnp.zeros(7)).matvec(u), whole.matvec(u), rtol=1e-9
    )
    with refused("y"):
        et.curvature.gauss_newton(network.apply, params, x, jnp.zeros(5))
