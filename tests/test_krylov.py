"""Lanczos in place of an eigendecomposition, against gradient descent step by step."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.krylov import krylov_dynamics
from refusals import refused

N = 12
ROOT = jax.random.normal(jax.random.key(0), (N, N))
KERNEL = ROOT @ ROOT.T / N
Y = jax.random.normal(jax.random.key(1), (N,))
RATE = 0.7 * float(et.kernels.stable_learning_rate(KERNEL))


def descend(steps):
    f = np.zeros(N)
    for _ in range(steps):
        f = f - RATE / N * np.asarray(KERNEL) @ (f - np.asarray(Y))
    return f


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 200])
def test_outputs_are_those_of_gradient_descent(steps):
    kernel = et.operators.Operator.from_matrix(KERNEL)
    dynamics = krylov_dynamics(kernel, Y, learning_rate=RATE, num_matvecs=N)
    np.testing.assert_allclose(kernel.matvec(dynamics.coefficients(steps)), descend(steps), atol=1e-10)


def test_k_products_are_exact_up_to_step_k():
    kernel = et.operators.Operator.from_matrix(KERNEL)
    dynamics = krylov_dynamics(kernel, Y, learning_rate=RATE, num_matvecs=4)
    outputs = jax.vmap(kernel.matvec)(dynamics.coefficients([3, 4, 60]))
    np.testing.assert_allclose(outputs[0], descend(3), atol=1e-12)
    assert np.abs(outputs[2] - descend(60)).max() > 1e-3  # and not for ever


def test_several_steps_are_rows():
    kernel = et.operators.Operator.from_matrix(KERNEL)
    dynamics = krylov_dynamics(kernel, Y, learning_rate=RATE, num_matvecs=1000)
    assert dynamics.coefficients([1, 2, 3]).shape == (3, N) and dynamics.coefficients(2).shape == (N,)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_space_that_is_exhausted_early_is_all_there_is(rank):
    root = ROOT[:, :rank] / np.sqrt(N)
    kernel = et.operators.Operator.from_matrix(root @ root.T)
    found = krylov_dynamics(kernel, Y, learning_rate=RATE, num_matvecs=N).coefficients(5)
    alpha = np.zeros(N)
    for _ in range(5):
        alpha = alpha + RATE / N * np.asarray(Y - root @ (root.T @ alpha))
    np.testing.assert_allclose(found, alpha, atol=1e-10)


def test_what_is_traced_or_dear_is_not_looked_at():
    of = lambda matrix: krylov_dynamics(et.operators.Operator.from_matrix(matrix), Y, learning_rate=RATE)
    expected = of(KERNEL).coefficients(5)
    np.testing.assert_allclose(jax.jit(lambda matrix: of(matrix).coefficients(5))(KERNEL), expected, atol=1e-10)
    product, never = jax.tree_util.Partial(jnp.matmul, KERNEL), jax.tree_util.Partial(lambda: 1 / 0)
    dear = et.operators.Operator(product, never, (N, N), cheap_dense=False)
    np.testing.assert_allclose(krylov_dynamics(dear, Y, learning_rate=RATE).coefficients(5), expected, atol=1e-10)


def test_a_kernel_that_is_not_finite_stays_so():
    kernel = et.operators.Operator.from_matrix(KERNEL.at[2, 3].set(np.nan))
    assert np.isnan(krylov_dynamics(kernel, Y, learning_rate=RATE).coefficients(5)).all()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("kernel", lambda op: krylov_dynamics(et.linear_kernel(lambda x: x, ROOT, ROOT[:3]), Y, learning_rate=1.0)),
        ("y", lambda op: krylov_dynamics(op, Y[:-1], learning_rate=1.0)),
        ("learning_rate", lambda op: krylov_dynamics(op, Y, learning_rate=-1.0)),
        ("num_matvecs", lambda op: krylov_dynamics(op, Y, learning_rate=1.0, num_matvecs=0)),
        ("steps", lambda op: krylov_dynamics(op, Y, learning_rate=1.0).coefficients(-1)),
    ],
)
def test_bad_input_is_named(name, call):
    with refused(name):
        call(et.operators.Operator.from_matrix(jnp.asarray(KERNEL)))
