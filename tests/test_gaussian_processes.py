"""The process of training: kernels from outside, what is refused and warned of, and in which precision all is."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.deep_kernels import Kernels
from earlytime.gaussian_processes import training_process
from refusals import refused


def linear(bias_std, scale=1.0):
    """x · x' + σ_b², of which nothing but the bias is left where inputs are 0."""
    inner = lambda x, x2: scale**2 * x @ x2.T + bias_std**2
    kernels = lambda nngp: Kernels(nngp, nngp + nngp**2)
    return lambda x, x2=None: kernels(inner(x, x if x2 is None else x2))


@pytest.mark.parametrize("bias_std", [0.5, 1.5])
def test_a_frozen_bias_is_at_most_that_of_the_network(bias_std):
    """With one input the training kernel alone would let a larger one pass."""
    x, x_new = np.array([[1.0]]), np.array([[-2.0]])
    run = lambda frozen: training_process(
        linear(bias_std), x, np.ones(1), x_new, learning_rate=1.0, trained="last", frozen_bias_std=frozen
    )
    run(bias_std)
    with refused("frozen_bias_std"):
        run(bias_std + 0.1)


def test_rounding_of_large_kernels_is_no_fault():
    x, x_new = np.random.default_rng(0).normal(size=(2, 5, 1))
    training_process(
        linear(1.0, scale=1e4), x, np.ones(5), x_new, learning_rate=1.0, trained="last", frozen_bias_std=1.0
    )


def test_several_times_are_each_alone_and_traced_inputs_the_same():
    x, y, x_new = np.random.default_rng(1).normal(size=(4, 3)), np.array([1.0, -1.0, 0.5, 2.0]), np.eye(3)[:2]
    at = lambda time: lambda x: training_process(linear(0.3), x, y, x_new, learning_rate=1.0).at(time=time)
    together = at([0.5, 3.0])(x)
    assert together.mean.shape == (2, 2) and together.covariance.shape == (2, 2, 2)
    for i, time in enumerate((0.5, 3.0)):
        for found in (at(time)(x), jax.jit(at(time))(x)):
            for one, other in zip(found, together):
                np.testing.assert_allclose(one, other[i], rtol=1e-8, atol=1e-12)


def test_kernels_are_in_double_precision_and_results_in_that_of_the_inputs():
    seen = []
    kernels = lambda x, x2=None: (seen.append(x.dtype), linear(0.3)(x, x2))[1]
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    with jax.enable_x64(False):
        process = training_process(kernels, x, np.ones(4), x[:2], learning_rate=1.0)
        found = process.at(time=1.0)
    assert set(map(str, seen)) == {"float64"} and process.kernel_new.dtype == np.float64
    assert found.mean.dtype == found.covariance.dtype == jnp.float32
    double = training_process(kernels, x, np.ones(4), x[:2], learning_rate=1.0)  # labels of more digits than the inputs
    assert double.at(time=1.0).mean.dtype == jnp.float32


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_spectrum_that_runs_into_rounding_is_warned_of(sign):
    x = np.linspace(-1, 1, 24)
    centered = np.eye(24) - 1 / 24  # so that a constant is among what is never learned
    kernel = centered @ np.exp(-((x[:, None] - x) ** 2) / 0.5) @ centered
    dynamics = et.kernel_dynamics(kernel.astype(np.float32), np.full(24, sign, np.float32), learning_rate=1.0)
    floor = 24 * 2.0**-23 * np.linalg.eigvalsh(kernel)[-1]
    process = et.gaussian_processes.TrainingProcess(dynamics, kernel, kernel, kernel, kernel)
    with pytest.warns(UserWarning, match=f"^kernel: 1 of what .* below {floor:.2g}"):
        process.at(time=[0.0, 1e9, 1e10])
