"""neural-tangents works on this JAX, and this JAX does not notice."""

import importlib.util
import inspect
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from earlytime import _neural_tangents

needs_neural_tangents = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)
pytestmark = [
    pytest.mark.filterwarnings("error::DeprecationWarning"),
    pytest.mark.filterwarnings("error::FutureWarning"),
]
KEY = jax.random.key(0)
IMPLEMENTATIONS = ["AUTO", "JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES"]


@pytest.fixture(scope="module")
def nt():
    if importlib.util.find_spec("neural_tangents") is None:
        pytest.skip("neural-tangents is not installed")
    return _neural_tangents.load()


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Nothing here runs long enough for optimized programs to pay."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def run_fresh(program: str) -> str:
    """The output of a program in a Python of its own, where single precision is the default."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    quick = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=quick)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inputs(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def relu_moments(s11, s12, s22):
    """E[f(u)f(v)] and E[f'(u)f'(v)] of ReLU: the arc-cosine kernels (Cho and Saul 2009)."""
    norm = np.sqrt(np.outer(s11, s22))
    angle = np.arccos(np.clip(s12 / norm, -1, 1))
    moment = norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return moment, (np.pi - angle) / (2 * np.pi)


def erf_moments(s11, s12, s22):
    """E[f(u)f(v)] and E[f'(u)f'(v)] of erf (Williams 1997)."""
    both = np.outer(1 + 2 * s11, 1 + 2 * s22)
    return 2 / np.pi * np.arcsin(2 * s12 / np.sqrt(both)), 4 / np.pi / np.sqrt(both - 4 * s12**2)


def check_sampled_kernels(nt, dtype):
    init, apply, kernel_fn = nt.stax.serial(nt.stax.Dense(512), nt.stax.Erf(), nt.stax.Dense(8, 1.0, 0.2))
    x = jax.random.normal(KEY, (4, 3))
    sampled_fn = nt.monte_carlo_kernel_fn(init, apply, jax.random.PRNGKey(0), n_samples=8)
    sampled = sampled_fn(x, None, ("nngp", "ntk"))
    exact = kernel_fn(x, None, ("nngp", "ntk"))
    # The NNGP averages over 8 × 8 outputs, the tangent kernel over 8 × 512 neurons as well.
    for name, tolerance in (("nngp", 0.5), ("ntk", 0.1)):
        found, limit = getattr(sampled, name), getattr(exact, name)
        assert found.dtype == limit.dtype == dtype
        assert np.linalg.norm(found - limit) < tolerance * np.linalg.norm(limit)


@needs_neural_tangents
def test_jax_is_left_as_it_was_and_works_in_single_precision():
    run_fresh(
        inspect.getsource(check_sampled_kernels)
        + textwrap.dedent("""
        import sys, warnings
        import earlytime, jax
        import numpy as np
        from earlytime import _neural_tangents

        assert not [name for name in sys.modules if name.startswith("neural_tangents")]

        def snapshot():
            modules = [name for name in sys.modules if name.partition(".")[0] in ("jax", "scipy")]
            return {name: dict(vars(sys.modules[name])) for name in modules if "_src" not in name}

        def imported(name):  # rather than put there
            return getattr(sys.modules.get(name), "__spec__", None) is not None

        def changes(before):
            found = []
            for module, names in snapshot().items():
                old = before.get(module, names)
                differ = [name for name in old | names if old.get(name, old) is not names.get(name, old)]
                found += [] if imported(module) else [module]
                found += [
                    f"{module}.{name}" for name in differ if name in old or not imported(f"{module}.{name}")
                ]
            return found

        before, finders = snapshot(), list(sys.meta_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nt = _neural_tangents.load()
        assert not changes(before), changes(before)
        assert sys.meta_path == finders
        assert not [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "tf2jax")]
        import neural_tangents
        assert neural_tangents is nt is _neural_tangents.load()
        # In use as well.
        KEY = jax.random.key(0)
        check_sampled_kernels(nt, "float32")
        assert not changes(before), changes(before)
    """)
    )


def test_what_is_not_installed_is_named_with_the_remedy():
    messages = run_fresh("""
        import sys
        from earlytime import _neural_tangents

        def message():
            try:
                _neural_tangents.load()
            except ImportError as error:
                return error
            raise AssertionError("it was found")

        sys.modules["frozendict"] = None
        print(message())
        sys.path.clear()
        print(message())
        assert not [name for name in sys.modules if name.startswith("neural_tangents")]
    """).splitlines()
    found = importlib.util.find_spec("neural_tangents") is not None
    missing = ["frozendict" if found else "neural_tangents", "neural_tangents"]
    assert messages == [
        f"this needs neural-tangents, and {name} is not installed: run `pip install --no-deps "
        "neural-tangents==0.6.5 frozendict` (--no-deps because it declares tensorflow, which is not needed)"
        for name in missing
    ]


def test_experimental_says_that_it_is_left_out(nt):
    message = "experimental.empirical_ntk_fn_tf is left out: it needs tensorflow"
    with pytest.raises(ImportError, match=message):
        _ = nt.experimental.empirical_ntk_fn_tf
    with pytest.raises(ImportError, match=message):
        from neural_tangents.experimental import empirical_ntk_fn_tf  # noqa: F401


@pytest.mark.parametrize("name, moments", [("Relu", relu_moments), ("Erf", erf_moments)])
def test_infinite_width_kernels_are_the_closed_forms(nt, name, moments):
    w_std, b_std = 1.3, 0.4
    layers = [nt.stax.Dense(1, w_std, b_std), getattr(nt.stax, name)(), nt.stax.Dense(1, w_std, b_std)]
    x1, x2 = inputs(6, 5), inputs(4, 5, seed=1)
    kernel = nt.stax.serial(*layers)[2](x1, x2, ("nngp", "ntk"))

    first = lambda a, b: w_std**2 * a @ b.T / 5 + b_std**2
    s12 = first(x1, x2)
    moment, slope = moments(np.diag(first(x1, x1)), s12, np.diag(first(x2, x2)))
    nngp = w_std**2 * moment + b_std**2
    assert kernel.ntk.dtype == np.float64
    np.testing.assert_allclose(kernel.nngp, nngp, rtol=1e-9)
    np.testing.assert_allclose(kernel.ntk, nngp + w_std**2 * slope * s12, rtol=1e-9)


def test_gradient_descent_is_the_matrix_exponential(nt):
    x, learning_rate = inputs(9, 4), 0.3
    kernel = nt.stax.serial(nt.stax.Dense(1), nt.stax.Erf(), nt.stax.Dense(1))[2](x, None, "ntk")
    train, test_train = np.asarray(kernel)[:6, :6], np.asarray(kernel)[6:, :6]
    y, start_train, start_test = inputs(6, 1, seed=1), inputs(6, 1, seed=2), inputs(3, 1, seed=3)

    def predict(kernel, time):
        fn = nt.predict.gradient_descent_mse(kernel, y, learning_rate=learning_rate)
        return fn(time, start_train, start_test, test_train)

    def closed(time):
        decay = scipy.linalg.expm(-learning_rate * time * train / y.size) if np.isfinite(time) else 0
        toward = (np.eye(6) - decay) @ (y - start_train)
        return start_train + toward, start_test + test_train @ np.linalg.solve(train, toward)

    times = [0.0, 1.0, 50.0, 4000.0]
    for found, expected in zip(predict(train, jnp.array(times)), zip(*map(closed, times))):
        np.testing.assert_allclose(found, np.stack(expected), atol=1e-9)
    for found, expected in zip(predict(train, None), closed(np.inf)):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    for found, expected in zip(jax.jit(predict)(train, 50.0), closed(50.0)):  # a kernel being traced
        np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(nt.predict.max_learning_rate(jnp.asarray(train)), 2 * 6 / np.linalg.eigvalsh(train)[-1])


def test_predictions_of_an_infinite_ensemble(nt):
    kernel_fn = nt.stax.serial(nt.stax.Dense(1), nt.stax.Relu(), nt.stax.Dense(1))[2]
    x, y, x_test = inputs(6, 4), inputs(6, 1, seed=1), inputs(3, 4, seed=2)
    predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y)
    found = predict(x_test=x_test, get=("nngp", "ntk"), compute_cov=True)
    pairs = [(x, x), (x_test, x), (x_test, x_test)]
    train, test_train, test = (np.asarray(kernel_fn(a, b, "nngp")) for a, b in pairs)
    mean = test_train @ np.linalg.solve(train, y)
    covariance = test - test_train @ np.linalg.solve(train, test_train.T)
    np.testing.assert_allclose(found.nngp.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.nngp.covariance, covariance, rtol=1e-6, atol=1e-9)
    train, test_train = (np.asarray(kernel_fn(a, x, "ntk")) for a in (x, x_test))
    np.testing.assert_allclose(found.ntk.mean, test_train @ np.linalg.solve(train, y), rtol=1e-6)


@pytest.fixture(scope="module")
def networks(nt):
    """name -> (f(params, x), params, inputs, their tangent kernel (n, n, k, k) from the Jacobian)."""
    stax = nt.stax
    dense = lambda width: stax.Dense(width, 1.2, 0.3)
    conv = stax.Conv(3, (3, 3), padding="SAME", W_std=1.2, b_std=0.3)
    around = stax.parallel(stax.Identity(), stax.serial(stax.Erf(), dense(6)))
    kinds = {
        "connected": ((4, 5), [dense(6), stax.Relu(), dense(6), stax.Erf(), dense(2)]),
        "convolutional": ((3, 4, 4, 2), [conv, stax.Relu(), stax.GlobalAvgPool(), dense(2)]),
        "residual": ((4, 5), [dense(6), stax.FanOut(2), around, stax.FanInSum(), dense(2)]),
    }
    found = {}
    for name, (shape, layers) in kinds.items():
        init, f, _ = stax.serial(*layers)
        x = jnp.asarray(inputs(*shape))

        def start(key):
            params = init(key, shape)[1]
            return params, jax.jacobian(f)(params, x)

        params, jacobian = jax.jit(start)(KEY)
        leaves = jax.tree.leaves(jacobian)
        jacobian = np.concatenate([np.reshape(leaf, (len(x), 2, -1)) for leaf in leaves], axis=2)
        found[name] = f, params, x, np.einsum("iap,jbp->ijab", jacobian, jacobian)
    return found


@pytest.mark.parametrize("network", ["connected", "convolutional", "residual"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_empirical_kernels_are_products_of_jacobians(nt, networks, network, implementation):
    f, params, x, exact = networks[network]
    settings = {"vmap_axes": 0, "implementation": nt.NtkImplementation[implementation]}
    ntk_fn = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), **settings))
    np.testing.assert_allclose(ntk_fn(x, x[:2], params), exact[:, :2], rtol=1e-9, atol=1e-12)


def test_empirical_kernels_without_jit_and_of_all_samples_at_once(nt, networks):
    f, params, x, exact = networks["residual"]
    ntk_fn = nt.empirical_ntk_fn(f, implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES)
    trace = np.einsum("ijaa->ij", exact) / 2
    np.testing.assert_allclose(ntk_fn(x, None, params), trace, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("structure", [False, True])
@pytest.mark.parametrize("network", ["connected", "convolutional"])
def test_structured_derivatives_without_the_rules_for_jacobians(nt, networks, network, structure, forward):
    f, params, x, exact = networks[network]
    structured = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    without = {"implementation": structured, "_j_rules": False, "_s_rules": structure, "_fwd": forward}
    ntk_fn = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, **without))
    np.testing.assert_allclose(ntk_fn(x, None, params), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_kernels_of_outputs_that_are_parameters_or_constants_or_partly_so(nt, implementation):
    some = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    f = lambda params, x: (params, jnp.sin(x), 2.0 * params, jnp.where(some > 0, 3.0 * params, x))
    ntk_fn = nt.empirical_ntk_fn(f, trace_axes=(), implementation=nt.NtkImplementation[implementation])
    found = ntk_fn(jnp.ones((2, 3)), None, jnp.ones((2, 3)))
    identity = np.einsum("ij,ab->ijab", np.eye(2), np.eye(3))
    for kernel, factor in zip(found, (1, 0, 4, 9 * some[:, None, :, None]), strict=True):
        np.testing.assert_allclose(kernel, factor * identity)


@pytest.mark.filterwarnings("ignore:No Jacobian rule found")
def test_kernels_of_networks_that_recompute(nt, networks):
    f, params, x, exact = networks["connected"]
    structured = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    ntk_fn = jax.jit(nt.empirical_ntk_fn(jax.checkpoint(f), trace_axes=(), implementation=structured))
    np.testing.assert_allclose(ntk_fn(x, None, params), exact, rtol=1e-9, atol=1e-12)


def test_linearize_is_the_first_derivative(nt, networks):
    f, params, x, _ = networks["residual"]
    move = jax.tree.map(lambda leaf: 0.1 * jnp.asarray(inputs(*leaf.shape, seed=leaf.size)), params)
    moved = jax.tree.map(jnp.add, params, move)
    curve = lambda t: f(jax.tree.map(lambda p, d: p + t * d, params, move), x)
    slope = jax.jacfwd(curve)
    value, tangent, second = jax.jit(lambda: (curve(0.0), slope(0.0), jax.jacfwd(slope)(0.0)))()
    linear = jax.jit(nt.linearize(f, params))(moved, x)
    np.testing.assert_allclose(linear, value + tangent, rtol=1e-12)
    quadratic = jax.jit(nt.taylor_expand(f, params, 2))(moved, x)
    np.testing.assert_allclose(quadratic, value + tangent + second / 2, rtol=1e-9)


@pytest.mark.parametrize("device_count", [-1, 0])
def test_batches_change_nothing(nt, device_count):
    kernel_fn = nt.stax.serial(nt.stax.Dense(1), nt.stax.Relu(), nt.stax.Dense(1))[2]
    x1, x2 = inputs(6, 5), inputs(4, 5, seed=1)
    batched = nt.batch(kernel_fn, batch_size=2, device_count=device_count)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(batched(x1, x2, name), kernel_fn(x1, x2, name), rtol=1e-12)


def test_sampled_kernels_approach_the_limit(nt):
    check_sampled_kernels(nt, "float64")
