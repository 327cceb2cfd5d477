import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

KEY = jax.random.key(3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dense_rows, exact_rows", [(4096, 512), (4096, 1), (1, 1)])
def test_spectral_norm_is_the_dense_one(monkeypatch, sign, dense_rows, exact_rows):
    monkeypatch.setattr(et.spectral, "_DENSE_ROWS", dense_rows)
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", exact_rows)
    x = et.sample_inputs(jax.random.key(5), 300, 40)
    params = et.two_layer(40, 200, "erf").init(jax.random.key(6))
    kernel = et.two_layer_kernel(params, x, "erf", trained="both")
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=40, trace_sigma_squared=40.0)
    gap = sign * (kernel - et.linear_kernel(features, x))
    norm = jax.jit(lambda op, key: et.spectral_norm(op, key=key))(gap, KEY)
    exact = np.abs(np.linalg.eigvalsh(gap.dense())).max()
    assert abs(norm.value - exact) < 1e-3 * exact
    assert norm.residual < 0.1 * exact


def test_the_residual_bounds_the_distance_to_an_eigenvalue(monkeypatch):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 1)
    x = et.sample_inputs(jax.random.key(5), 200, 100)
    operator = et.linear_kernel(lambda x: x, x)
    values = np.linalg.eigvalsh(operator.dense())
    for num_matvecs in (2, 5, 20):
        norm = et.spectral_norm(operator, key=KEY, num_matvecs=num_matvecs)
        assert np.abs(values - norm.value).min() <= norm.residual + 1e-9
        assert norm.value <= values[-1] + 1e-9


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((6, 6)), np.eye(6), np.diag([0, 0, 0, 0, 0, -3.0]), np.eye(1) * 2, np.kron(np.eye(20), [[0, 2], [2, 0]])],
)
@pytest.mark.filterwarnings("error")
def test_spectral_norms_of_exhausted_krylov_spaces(matrix):
    root = jnp.asarray(matrix)
    operator = et.operators.Operator(
        jax.tree_util.Partial(jnp.matmul, root), jax.tree_util.Partial(lambda a: a, root), root.shape, False
    )
    norm = et.spectral_norm(operator, key=KEY)
    np.testing.assert_allclose(norm.value, np.abs(matrix).max(), atol=1e-9)
    assert norm.residual < 1e-6


@pytest.mark.parametrize("dense_rows, exact_rows", [(4096, 512), (4096, 1), (1, 1)])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e19, 1e30, 1e36])
def test_spectral_norms_of_any_scale_in_float32(monkeypatch, scale, dense_rows, exact_rows):
    monkeypatch.setattr(et.spectral, "_DENSE_ROWS", dense_rows)
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", exact_rows)
    matrix = np.random.default_rng(2).normal(size=(30, 30)).astype(np.float32)
    matrix = matrix + matrix.T
    operator = et.operators.Operator.from_matrix(np.float32(scale) * matrix)
    norm, few = (et.spectral.Norm(*map(float, et.spectral_norm(operator, key=KEY, num_matvecs=k))) for k in (40, 4))
    values = np.abs(scale * np.linalg.eigvalsh(matrix.astype(float)))
    np.testing.assert_allclose(norm.value, values.max(), rtol=1e-5)
    assert norm.residual <= 1e-3 * values.max()
    assert np.abs(values - few.value).min() <= few.residual + 1e-5 * values.max()
    assert few.value <= 1.00001 * values.max()
    if scale and exact_rows == 1:  # four products tell little, and the residual says so
        assert few.residual > 1e-3 * values.max()


def test_products_that_are_not_finite_have_no_norm(monkeypatch):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 1)
    for matrix in (np.full((4, 4), np.nan), np.diag([1.0, 1.0, np.inf, 1.0]), 1e308 * np.ones((20, 20))):
        assert np.isnan(et.spectral_norm(et.operators.Operator.from_matrix(matrix), key=KEY)).all()


@pytest.mark.parametrize(
    "rows, cheap, used",
    [(4, True, "all"), (5, True, "matrix"), (6, True, "matrix"), (7, True, "product"), (3, False, "product")],
)
def test_a_matrix_is_formed_where_it_is_cheap_and_small(monkeypatch, rows, cheap, used):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 4)
    monkeypatch.setattr(et.spectral, "_DENSE_ROWS", 6)
    calls, matrix = set(), jnp.diag(jnp.arange(1.0, rows + 1))
    product = jax.tree_util.Partial(lambda u: (calls.add("product"), matrix @ u)[1])
    formed = jax.tree_util.Partial(lambda: (calls.add("matrix"), matrix)[1])
    norm = et.spectral_norm(et.operators.Operator(product, formed, (rows, rows), cheap), key=KEY, num_matvecs=2)
    assert calls == {"product" if used == "product" else "matrix"}
    assert (norm.residual == 0) == (used == "all") and (norm.value == rows) == (used == "all")


def test_small_numbers_beside_zeros_are_not_lost(monkeypatch):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 1)
    matrix = np.diag(np.array([0.0, 1e-30, 2e-30, 3e-30], np.float32))
    norm = et.spectral_norm(et.operators.Operator.from_matrix(matrix), key=KEY)
    np.testing.assert_allclose(norm.value, 3e-30, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [1, 3])
def test_spectral_norms_of_low_rank_from_many_starts(monkeypatch, dtype, rank):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 1)
    psi = np.random.default_rng(0).normal(size=(200, rank)).astype(dtype)
    operator = et.linear_kernel(lambda x: x, psi)
    norm = jax.vmap(lambda key: et.spectral_norm(operator, key=key))(jax.random.split(KEY, 15))
    exact = np.linalg.norm(psi, 2) ** 2
    np.testing.assert_allclose(norm.value, exact, rtol=1e-3)
    assert np.all(norm.residual >= 0)


def test_spectral_norm_over_seeds_and_in_float32(monkeypatch):
    monkeypatch.setattr(et.spectral, "_EXACT_ROWS", 1)
    x = et.sample_inputs(KEY, 50, 10)
    run = lambda key: et.spectral_norm(et.linear_kernel(lambda x: x, x.astype(jnp.float32)), key=key).value
    norms = et.over_seeds(run, 0, 3)
    np.testing.assert_allclose(norms, np.linalg.norm(np.asarray(x), 2) ** 2, rtol=1e-3)


@pytest.mark.parametrize(
    "name, call",
    [
        ("operator", lambda: et.spectral_norm(et.linear_kernel(lambda x: x, jnp.eye(3), jnp.eye(2, 3)), key=KEY)),
        ("operator", lambda: et.spectral_norm(et.operators.Operator.from_matrix(jnp.zeros((0, 0))), key=KEY)),
        ("num_matvecs", lambda: et.spectral_norm(et.linear_kernel(lambda x: x, jnp.eye(3)), key=KEY, num_matvecs=0)),
    ],
)
def test_bad_arguments_are_named(name, call):
    with refused(name):
        call()


@pytest.mark.slow
def test_twenty_thousand_samples_without_their_matrix():
    """n = 20,000: the dense kernel would need 3.2 GB in float64; the process must stay far below."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = et.sample_inputs(KEY, 20_000, 50)
    params = et.two_layer(50, 256, "erf").init(KEY)
    kernel = et.tangent_kernel(et.two_layer(50, 256, "erf").apply, params, x)
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=50, trace_sigma_squared=50.0)
    norm = et.spectral_norm(kernel - et.linear_kernel(features, x), key=KEY)
    assert norm.residual < 0.05 * norm.value
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
