"""Kernels that are none: not symmetric, with negative eigenvalues, complex, not finite."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.deep_kernels import Kernels
from earlytime.gaussian_processes import training_process
from earlytime.kernels import stable_learning_rate
from earlytime.krylov import krylov_dynamics
from earlytime.operators import Operator
from refusals import refused

GOOD = np.array([[3.0, 1.0, 0.5], [1.0, 2.0, 0.0], [0.5, 0.0, 1.0]])
Y = np.array([1.0, -1.0, 1.0])
X = np.arange(6.0).reshape(3, 2)


def gaussian(kernel, **which):
    kernels = lambda x, x2=None: Kernels(**({"nngp": GOOD, "ntk": GOOD} | dict.fromkeys(which, kernel)))
    return training_process(kernels, X, Y, X, learning_rate=1.0).at(time=1.0).mean


TAKERS = {
    "kernel_dynamics": lambda k: et.kernel_dynamics(k, Y, learning_rate=1.0).predict(time=1.0),
    "loss_flow": lambda k: et.loss_flow(k, Y, loss="squared", time=[1.0], start=0 * Y)[0][0],
    "stable_learning_rate": stable_learning_rate,
    "krylov_dynamics": lambda k: krylov_dynamics(Operator.from_matrix(k), Y, learning_rate=1.0).coefficients(3),
    "training_process": lambda k: gaussian(k, ntk=True),
}
BAD = {
    "differ by 0.01": GOOD + np.array([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]]),
    "differ by 1e-05": GOOD + np.array([[0, 0, 1e-5], [0, 0, 0], [0, 0, 0]]),
    "negative eigenvalue, got -0.1": np.diag([3.0, 2.0, -0.1]),
    "negative eigenvalue, got -3": -np.diag([3.0, 2.0, 1.0]),
    "complex": GOOD + 1j * np.triu(np.ones((3, 3)), 1) - 1j * np.tril(np.ones((3, 3)), -1),
    "finite": np.diag([1.0, np.nan, 1.0]),
}


@pytest.mark.parametrize("of", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("saying", BAD)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_kernel_is_refused_with_the_size_of_what_is_wrong(taker, saying, of):
    if (taker, saying) == ("krylov_dynamics", "finite"):
        return  # stays so: tested beside krylov_dynamics
    name = {"training_process": "kernels" if "eigenvalue" not in saying else "kernel"}.get(taker, "kernel")
    with refused("matrix" if taker == "krylov_dynamics" and saying == "complex" else name, saying=saying):
        TAKERS[taker](of(BAD[saying]))


@pytest.mark.parametrize("dtype, size", [("float64", 1e-8), ("float32", 1e-5), ("float16", 0), ("int32", 0)])
@pytest.mark.parametrize("taker", TAKERS)
def test_rounding_is_no_fault(taker, dtype, size):
    if dtype == "int32" and taker == "training_process":
        pytest.skip("kernels are floating-point numbers by annotation")
    if dtype != "float16" and taker == "loss_flow":
        pytest.skip("diffrax takes seconds to compile")
    noise = size * np.random.default_rng(0).normal(size=(3, 3))
    good = np.round(GOOD) if dtype == "int32" else GOOD
    singular = np.outer(good[0], good[0])  # of eigenvalue 0, which rounding makes negative
    for matrix in (good, singular):
        np.testing.assert_allclose(
            TAKERS[taker](jnp.asarray(matrix + noise, dtype)), TAKERS[taker](matrix), rtol=1e-3, atol=1e-3
        )


def test_the_covariances_of_a_process_too():
    lopsided = BAD["differ by 0.01"]
    with refused("kernels"):
        gaussian(lopsided, nngp=True)


def test_nothing_is_looked_at_while_jax_traces():
    exact = TAKERS["kernel_dynamics"](GOOD)
    np.testing.assert_allclose(jax.jit(TAKERS["kernel_dynamics"])(GOOD), exact, rtol=1e-9)
    jax.jit(TAKERS["stable_learning_rate"])(BAD["differ by 0.01"])
