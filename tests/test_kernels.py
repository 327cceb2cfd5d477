import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _blocks
from refusals import refused

N, D, M = 17, 5, 8
X = np.asarray(et.sample_inputs(jax.random.key(0), N, D))
X2 = np.asarray(et.sample_inputs(jax.random.key(1), 7, D))
# A start whose readout is not ±1, so that v² matters.
PARAMS = et.two_layer(D, M, "softplus").init(jax.random.key(2))._replace(v=jnp.linspace(-2.0, 1.0, M))


def brute_force_kernel(phi, slope, trained, x):
    """Both layers' kernels, gradient by gradient in plain numpy."""
    w, v = np.asarray(PARAMS.w), np.asarray(PARAMS.v)
    gradients = []
    for sample in x:
        z = w @ sample / np.sqrt(D)
        first = np.outer(v * slope(z), sample) / np.sqrt(M * D)
        second = phi(z) / np.sqrt(M)
        gradients.append({"first": first.ravel(), "second": second, "both": np.r_[first.ravel(), second]}[trained])
    return np.array(gradients) @ np.array(gradients).T


SOFTPLUS = (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z)))
RELU = (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))


@pytest.mark.parametrize("trained", ["first", "second", "both"])
@pytest.mark.parametrize("name, phi", [("softplus", SOFTPLUS), ("relu", RELU)])
def test_two_layer_kernels_are_brute_force(trained, name, phi):
    exact = brute_force_kernel(*phi, trained, X)
    operator = et.two_layer_kernel(PARAMS, X, name, trained=trained)
    u = np.random.default_rng(0).normal(size=N)
    np.testing.assert_allclose(operator.dense(), exact, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(operator.matvec(u), exact @ u, rtol=1e-6, atol=1e-12)


def test_blocks_of_samples_and_of_neurons_change_nothing(monkeypatch):
    u = np.random.default_rng(0).normal(size=N)
    exact = brute_force_kernel(*SOFTPLUS, "both", X)
    monkeypatch.setattr(_blocks, "_CPU_BLOCK", 5)
    monkeypatch.setattr(et.two_layer_kernels, "_NEURON_BLOCK", 3)
    et.two_layer_kernels._two_layer_parts.cache_clear()
    operator = et.two_layer_kernel(PARAMS, X, "softplus", trained="both")
    np.testing.assert_allclose(operator.dense(), exact, rtol=1e-9)
    np.testing.assert_allclose(operator.matvec(u), exact @ u, rtol=1e-9)
    tangent = et.tangent_kernel(et.two_layer(D, M, "softplus").apply, PARAMS, X)
    np.testing.assert_allclose(tangent.matvec(u), exact @ u, rtol=1e-9)


def test_tangent_kernel_of_a_network_and_of_one_layer():
    network = et.two_layer(D, M, "softplus")
    u = np.random.default_rng(0).normal(size=7)
    whole = brute_force_kernel(*SOFTPLUS, "both", np.r_[X, X2])[:N, N:]
    operator = et.tangent_kernel(network.apply, PARAMS, X, X2)
    assert operator.shape == (N, 7)
    np.testing.assert_allclose(operator.dense(), whole, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda op, u: op.matvec(u))(operator, u), whole @ u, rtol=1e-6)
    first = et.tangent_kernel(lambda w, x: network.apply(PARAMS._replace(w=w), x), PARAMS.w, X)
    np.testing.assert_allclose(first.dense(), brute_force_kernel(*SOFTPLUS, "first", X), rtol=1e-6)


def test_what_operators_say_of_themselves():
    linear = lambda w, x: x @ w
    square, between = et.tangent_kernel(linear, jnp.ones(D), X), et.tangent_kernel(linear, jnp.ones(D), X, X + 1)
    assert square.symmetric and not between.symmetric
    assert not square.cheap_dense and not between.cheap_dense
    two_layers = et.two_layer_kernel(PARAMS, X, "erf", trained="both")
    assert two_layers.symmetric and two_layers.cheap_dense


def test_a_distance_is_between_two_places():
    here, there = {"a": np.array([1.0, 5.0]), "b": np.array(2.0)}, {"a": np.array([4.0, 5.0]), "b": np.array(-2.0)}
    np.testing.assert_allclose(et.kernels.parameter_distance(here, there), 5.0)


def test_tangent_kernel_of_any_pytree():
    apply = lambda p, x: jnp.tanh(x @ p["a"][0]) @ p["b"]
    params = {"a": [jnp.ones((D, 3)) / 3], "b": jnp.arange(3.0)}
    jacobian = jax.jacobian(apply)(params, X)
    exact = sum(
        np.asarray(leaf).reshape(N, -1) @ np.asarray(leaf).reshape(N, -1).T for leaf in jax.tree.leaves(jacobian)
    )
    np.testing.assert_allclose(et.tangent_kernel(apply, params, X).dense(), exact, rtol=1e-10)


def test_operators_add_up():
    a = et.linear_kernel(lambda x: x, X)
    b = et.two_layer_kernel(PARAMS, X, "erf", trained="both")
    u = np.random.default_rng(0).normal(size=N)
    mixed = 2.0 * a - b * 0.5
    np.testing.assert_allclose(mixed.dense(), 2 * X @ X.T - 0.5 * b.dense(), rtol=1e-12)
    np.testing.assert_allclose(mixed.matvec(u), mixed.dense() @ u, rtol=1e-10)
    leaves, treedef = jax.tree.flatten(mixed)
    np.testing.assert_allclose(jax.tree.unflatten(treedef, leaves).dense(), mixed.dense())
    assert et.linear_kernel(lambda x: x, X, X2).shape == (N, 7)


def test_complement_and_schur_complement():
    operator = et.two_layer_kernel(PARAMS, X, "softplus", trained="both")
    matrix, direction = np.asarray(operator.dense()), np.random.default_rng(1).normal(size=N)
    u = direction / np.linalg.norm(direction)
    projector = np.eye(N) - np.outer(u, u)
    v = np.random.default_rng(2).normal(size=N)
    for made, exact in [
        (et.operators.complement(operator, direction), projector @ matrix @ projector),
        (
            et.operators.schur_complement(operator, direction),
            matrix - np.outer(matrix @ u, matrix @ u) / (u @ matrix @ u),
        ),
    ]:
        np.testing.assert_allclose(made.dense(), exact, atol=1e-12)
        np.testing.assert_allclose(made.matvec(v), exact @ v, atol=1e-12)
        np.testing.assert_allclose(made.matvec(u), np.zeros(N), atol=1e-12)


@pytest.fixture(scope="module")
def wide_network():
    """Inputs with a norm that varies, and the kernel of 10,000 independent neurons on them."""
    dim, spectrum = 64, np.linspace(0.2, 1.8, 64)
    x = et.sample_inputs(jax.random.key(8), 181, dim, spectrum=spectrum, rotate=True, entries="rademacher")
    params = et.two_layer(dim, 20_000, "softplus").init(jax.random.key(9))
    return x, params, float(np.sum(spectrum**2))


@pytest.mark.parametrize("trained", ["first", "second", "both"])
def test_the_constants_of_the_features_are_those_of_real_networks(wide_network, trained):
    """Against a very wide network, each usual mistake makes the gap larger."""
    x, params, trace = wide_network
    moments = et.gaussian_moments("softplus")
    kernel = et.two_layer_kernel(params, x, "softplus", trained=trained).dense()
    features = et.early_time_features(moments, trained=trained, dim=64, trace_sigma_squared=trace)
    q = np.asarray(et.features.norm_feature(moments[1:], x))

    def gap(features, fit_q):
        psi = np.asarray(features(x))
        both = [np.asarray(kernel), psi @ psi.T]
        if fit_q:
            both = [matrix - np.outer(matrix @ q, matrix @ q) / (q @ matrix @ q) for matrix in both]
        return np.abs(np.linalg.eigvalsh(both[0] - both[1])).max()

    fit_q = trained != "first"  # otherwise the few neurons' estimate of q qᵀ hides everything else
    mistakes = {
        "linear x 1.15": features._replace(linear=1.15 * features.linear),
        "linear / 1.15": features._replace(linear=features.linear / 1.15),
    }
    if trained == "first":
        mistakes["no nu"] = features._replace(constant=0.0)
        mistakes["nu twice"] = features._replace(constant=2 * features.constant)
    for name, mistake in mistakes.items():
        assert gap(mistake, fit_q) > 1.02 * gap(features, fit_q), name
    if trained != "first":
        constant = features._replace(norm=(moments.theta0, 0.0, 0.0))
        assert gap(constant, False) > 1.5 * gap(features, False)


@pytest.mark.parametrize(
    "name, call",
    [
        ("trained", lambda: et.two_layer_kernel(PARAMS, X, "erf", trained="third")),
        ("activation", lambda: et.two_layer_kernel(PARAMS, X, "erfy", trained="both")),
        ("x", lambda: et.two_layer_kernel(PARAMS, X * np.nan, "erf", trained="both")),
        ("x2", lambda: et.tangent_kernel(lambda p, x: x @ p, jnp.ones(D), X, X2 * np.nan)),
        ("apply_fn", lambda: et.tangent_kernel(lambda p, x: (x * p[None])[:, None], jnp.ones(D), X)),
        ("other", lambda: et.linear_kernel(lambda x: x, X) - et.linear_kernel(lambda x: x, X2)),
        ("u", lambda: et.linear_kernel(lambda x: x, X).matvec(np.ones(3))),
        ("direction", lambda: et.operators.complement(et.linear_kernel(lambda x: x, X), np.ones(3))),
        ("kernels", lambda: et.kernels.kernel_change(np.ones((2, 3, 4)))),
        ("kernels", lambda: et.kernels.kernel_change(np.ones((2, 2, 2, 2)))),
        ("start", lambda: et.kernels.parameter_distance({"a": np.ones(2)}, {"a": np.arange(2)})),
        ("start", lambda: et.kernels.parameter_distance({"a": np.ones(2)}, {"a": np.ones(3)})),
    ],
)
def test_bad_arguments_are_named(name, call):
    with np.errstate(all="ignore"), refused(name):
        call()


def test_a_matrix_is_an_operator():
    matrix = jnp.arange(6.0).reshape(2, 3)
    operator = et.operators.Operator.from_matrix(matrix)
    u = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_array_equal(operator.dense(), matrix)
    np.testing.assert_allclose((2 * operator).matvec(u), 2 * matrix @ u)


def test_the_stable_learning_rate_is_where_gradient_descent_turns():
    x, y = jax.random.normal(jax.random.key(0), (6, 3)), jnp.ones(6)
    limit = float(et.kernels.stable_learning_rate(et.tangent_kernel(lambda w, x: x @ w, jnp.zeros(3), x).dense()))
    losses = [
        et.train(
            lambda w, x: x @ w, jnp.zeros(3), x, y, learning_rate=share * limit, num_steps=900, record_steps=(0, 900)
        ).train_loss
        for share in (0.99, 1.01)
    ]
    assert losses[0][1] < losses[0][0] and losses[1][1] > losses[1][0]


def test_the_averaged_kernel_is_the_mean_of_the_outputs_kernels():
    network, x = et.fully_connected(4, 6, "tanh", depth=2, num_outputs=3), jax.random.normal(jax.random.key(1), (5, 4))
    params = network.init(jax.random.key(0))
    operator, u = et.tangent_kernel(network.apply, params, x), np.random.default_rng(0).normal(size=15)
    np.testing.assert_allclose(operator.matvec(u), operator.dense() @ u, rtol=1e-10)
    dense = np.asarray(operator.dense()).reshape(5, 3, 5, 3)
    expected = np.einsum("iaja->ij", dense) / 3
    np.testing.assert_allclose(et.kernels.averaged_kernel(network.apply, params, x), expected, rtol=1e-10)
    one = et.two_layer(4, 8, "erf")
    params = one.init(jax.random.key(0))
    np.testing.assert_allclose(
        et.kernels.averaged_kernel(one.apply, params, x), et.tangent_kernel(one.apply, params, x).dense(), rtol=1e-10
    )
