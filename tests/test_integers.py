"""Whole numbers of any width: the library's own algebra makes them floating once, and nothing overflows."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import affine_kernels, patch_kernels, tabulated_kernels

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 17, size=(12, 9))
SIGNS = np.where(RNG.integers(0, 2, size=(12, 8)) == 1, 1, -1)
Y = np.arange(12) % 3
PARAMS = et.two_layer(9, 6, "erf").init(jax.random.key(0))
FEATURES = et.early_time_features(et.gaussian_moments("relu"), trained="both", dim=9, trace_sigma_squared=9.0)
AFFINE = affine_kernels.affine_features(affine_kernels.affine_kernel("relu", depth=2), dim=9, mean_squared_rho=0.1)
TABLE = tabulated_kernels.tabulated_kernel("erf", depth=1)
KAPPA = patch_kernels.patch_kernel("erf", filter_size=3)

CALLS = {
    "estimate_trace_sigma_squared": lambda x, y: et.estimate_trace_sigma_squared(x),
    "early_time_features": lambda x, y: FEATURES(x),
    "norm_feature": lambda x, y: et.features.norm_feature((0.5, 1.0, 2.0), x),
    "affine_features": lambda x, y: AFFINE(x),
    "linear_kernel": lambda x, y: et.linear_kernel(lambda x: x, x).dense(),
    "linear_kernel of products": lambda x, y: et.linear_kernel(lambda x: x * x, x, x[:3]).dense(),
    "linear_kernel by a product": lambda x, y: et.linear_kernel(lambda x: x, x).matvec(y),
    "linear_model": lambda x, y: et.linear_model(lambda x: x * x, x, y, learning_rate=1e-4).predict(x, [1, 9]),
    "linear_model in the end": lambda x, y: et.linear_model(FEATURES, x, y, learning_rate=0.1).predict_limit(x),
    "early_time_model": lambda x, y: et.early_time_model(
        et.gaussian_moments("relu"), x, y, trained="both", learning_rate=0.1
    ).predict(x, [1, 5]),
    "two_layer_kernel": lambda x, y: et.two_layer_kernel(PARAMS, x, "erf", trained="both").dense(),
    "two_layer_kernel by a product": lambda x, y: et.two_layer_kernel(PARAMS, x, "erf", trained="first").matvec(y),
    "two_layer_hessian_norm": lambda x, y: et.curvature.two_layer_hessian_norm(PARAMS, x[0], "erf", trained="both"),
    "teacher_labels": lambda x, y: et.teacher_labels(jax.random.key(1), x),
    "equal_norms": lambda x, y: et.inputs.equal_norms(x),
    "tabulated_kernel": lambda x, y: TABLE(x.clip(0, 1), x[:2].clip(0, 1)),
}


def wanted(call, x, y):
    return np.asarray(call(x.astype(float), y.astype(float)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize("name", CALLS)
def test_whole_numbers_are_numbers(name, dtype):
    for kind in (np.asarray, jnp.asarray):
        found = CALLS[name](kind(DIGITS.astype(dtype)), kind(Y.astype(dtype)))
        np.testing.assert_allclose(found, wanted(CALLS[name], DIGITS, Y), rtol=1e-9, atol=1e-9)


def test_signs_and_tables_of_whole_numbers():
    ring = lambda x, kappa: patch_kernels.ring_kernel(x, kappa, filter_size=3)
    np.testing.assert_allclose(ring(SIGNS.astype(np.int8), KAPPA), ring(SIGNS.astype(float), KAPPA), rtol=1e-12)
    squares = np.array([[200, 9, 4, 250]])
    np.testing.assert_allclose(ring(SIGNS, squares.astype(np.uint8)), ring(SIGNS.astype(float), squares * 1.0))


def test_the_numbers_that_overflowed():
    x = np.array([[15, 200], [100, 3]], np.uint8)
    assert et.linear_kernel(lambda x: x, x).dense().tolist() == [[40225.0, 2100.0], [2100.0, 10009.0]]
    trace = ((15 * 100 + 200 * 3) ** 2 * 2) / 2  # (‖XᵀX‖² - Σ‖x‖⁴)/(n(n - 1)) = 2⟨x, x'⟩²/2
    with jax.enable_x64(False):
        np.testing.assert_allclose(et.estimate_trace_sigma_squared(x), trace, rtol=1e-5)


def test_tokens_of_a_network_stay_tokens():
    """Inputs of a user's network are what they are: here rows of a table are looked up."""
    apply = lambda table, tokens: table[tokens].sum(axis=1)
    table, tokens = jnp.arange(5.0) ** 2, np.array([[0, 1], [4, 4], [2, 0]])
    np.testing.assert_allclose(et.tangent_kernel(apply, table, tokens).dense(), [[2, 0, 1], [0, 4, 0], [1, 0, 2]])
