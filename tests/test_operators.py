import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.operators import Operator, complement, low_rank, schur_complement
from refusals import refused

WHOLE = np.array([[250, 3, 1], [3, 200, 2], [1, 2, 100]])
DTYPES = ["uint8", "int32", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("of", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_those_of_float64_whatever_the_numbers_are(dtype, of):
    u, matrix = of(jnp.array([1, 0, 1]).astype(dtype)), np.asarray(WHOLE, float)
    operators = {
        "matrix": (Operator.from_matrix(matrix), matrix),
        "scaled": (2 * Operator.from_matrix(of(WHOLE)), 2 * matrix),
        "difference": (Operator.from_matrix(of(WHOLE.astype(np.uint8))) - low_rank(of(WHOLE), np.eye(3)), 0 * matrix),
        "thin": (low_rank(of(WHOLE.astype(np.uint8)), of(WHOLE.astype(np.uint8))), matrix @ matrix.T),
    }
    for operator, exact in operators.values():
        np.testing.assert_allclose(operator.matvec(u), exact @ np.array([1, 0, 1]), rtol=1e-6)
        np.testing.assert_allclose(operator.dense(), exact, rtol=1e-6)
    unit = np.array([1, 0, 1]) / np.sqrt(2)
    off = np.eye(3) - np.outer(unit, unit)
    left = matrix - np.outer(matrix @ unit, matrix @ unit) / (unit @ matrix @ unit)
    operator = Operator.from_matrix(matrix)
    np.testing.assert_allclose(complement(operator, u).dense(), off @ matrix @ off, atol=1e-4)
    np.testing.assert_allclose(schur_complement(operator, u).dense(), left, atol=1e-4)


@pytest.mark.parametrize("single", ["float16", "bfloat16", "float32"])
def test_whole_numbers_take_the_precision_of_the_operator(single):
    operator = Operator.from_matrix(jnp.asarray(WHOLE, single))
    assert operator.dtype == operator.matvec(np.array([1, 2, 3])).dtype == jnp.float32


def test_what_no_product_is_made_of():
    operator = Operator.from_matrix(np.eye(3))
    with refused("u"):
        operator.matvec(np.ones(3) * 1j)
    with refused("matrix"):
        Operator.from_matrix(np.ones((2, 2)) * 1j)
    with refused("matrix"):
        Operator.from_matrix(np.ones(2))
    with refused("left"):
        low_rank(np.ones((2, 1)) * 1j, np.ones((2, 1)))
    for direction in (np.zeros(3), np.array([1, np.nan, 0]), np.ones(2)):
        with refused("direction"):
            complement(operator, direction)
        with refused("direction"):
            schur_complement(operator, direction)
    with refused("operator"):
        et.operators.complement(Operator.from_matrix(np.ones((2, 3))), np.ones(3))


def test_operators_that_are_not_symmetric_have_no_norm_by_lanczos():
    x = np.random.default_rng(0).normal(size=(6, 3))
    w, f = jnp.ones(3), lambda w, x: jnp.tanh(x @ w)
    across = et.tangent_kernel(f, w, x, x + 1)
    matrix = et.operators.Operator.from_matrix(np.triu(np.ones((6, 6))))
    thin = et.linear_kernel(lambda x: x, x, x + 1)
    for operator in (across, matrix, thin, 2.0 * across, thin - et.linear_kernel(lambda x: x, x)):
        with refused("operator", saying="symmetric"):
            et.spectral_norm(operator, key=jax.random.key(0))
        with refused("kernel", saying="symmetric"):
            et.krylov.krylov_dynamics(operator, np.ones(6), learning_rate=0.1)
    same = et.tangent_kernel(f, w, x, x)
    assert et.spectral_norm(same, key=jax.random.key(0)).value > 0
    both = et.linear_kernel(lambda x: x, x, x.copy())
    assert et.spectral_norm(both, key=jax.random.key(0)).value > 0


def test_a_factor_of_any_kind_keeps_the_operator_s_precision():
    operator = et.operators.Operator.from_matrix(np.eye(2, dtype=np.float32))
    for scaled in (2.0 * operator, operator * 2.0, operator * np.float64(2), operator * jnp.asarray(2.0)):
        assert scaled.dense().dtype == np.float32 and scaled.dense().tolist() == [[2, 0], [0, 2]]


def test_the_highest_precision_of_its_parts_counts():
    single, double = (Operator.from_matrix(jnp.eye(2, dtype=dtype)) for dtype in ("float32", "float64"))
    assert (single.dtype, double.dtype) == (jnp.float32, jnp.float64)
    mixed = Operator(double.product, single.matrix, (2, 2), True)
    assert mixed.dtype == Operator(single.product, double.matrix, (2, 2), True).dtype == jnp.float64
    assert Operator(jax.tree_util.Partial(jnp.asarray), jax.tree_util.Partial(jnp.eye, 2), (2, 2), True).dtype == float


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_matrix_is_symmetric_up_to_rounding_of_its_own_size(scale):
    exact = scale * np.array([[1.0, 0.5], [0.5, 2.0]])
    off = scale * np.array([[0.0, 1.0], [0.0, 0.0]])
    of = lambda share: Operator.from_matrix(exact + share * off).symmetric
    assert of(0.0) and of(6e-4) and not of(8e-4)  # 3.5e-4 of the largest entry, 2


def test_what_is_known_not_to_be_symmetric():
    assert not Operator.from_matrix(np.ones((2, 3))).symmetric
    assert Operator.from_matrix(np.zeros((0, 0))).symmetric and Operator.from_matrix(np.zeros((2, 2))).symmetric
    assert Operator.from_matrix(np.array([[np.nan, 1.0], [0.0, 1.0]])).symmetric  # which others refuse
    assert jax.jit(lambda a: Operator.from_matrix(a).symmetric)(np.array([[1.0, 1.0], [0.0, 1.0]]))
    x = np.arange(6.0).reshape(3, 2)
    assert low_rank(x, x).symmetric and not low_rank(x, x + 1).symmetric


def test_thin_matrices_in_their_order():
    left, right = np.random.default_rng(0).normal(size=(2, 4, 3))
    operator = low_rank(left, right[:3])
    assert operator.shape == (4, 3) and operator.cheap_dense
    np.testing.assert_allclose(operator.dense(), left @ right[:3].T)
    np.testing.assert_allclose(operator.matvec(np.arange(3.0)), left @ right[:3].T @ np.arange(3.0))


def test_off_a_direction_an_operator_costs_what_it_did():
    dear = Operator(*(jax.tree_util.Partial(part, jnp.eye(3)) for part in (jnp.matmul, jnp.asarray)), (3, 3), False)
    for of in (complement, schur_complement):
        assert not of(dear, np.ones(3)).cheap_dense and of(Operator.from_matrix(np.eye(3)), np.ones(3)).cheap_dense
