"""What holds for all inputs, at inputs that Hypothesis chooses; shapes stay, so that each program is compiled once."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

N, D, M = 6, 3, 8
ACTIVATIONS = ["erf", "tanh", "relu", "softplus", "abs", "sigmoid"]
NETWORK = et.two_layer(D, M, "softplus")
START = NETWORK.init(jax.random.key(0))
MOMENTS = et.gaussian_moments("softplus")

numbers = st.floats(-3, 3, allow_subnormal=False)
inputs = arrays(np.float64, (N, D), elements=numbers)
labels = arrays(np.float64, (N,), elements=numbers)
spectra = arrays(np.float64, (N,), elements=st.floats(0, 1, allow_subnormal=False))
several = settings(max_examples=25, deadline=None)


@several
@given(st.sampled_from(ACTIVATIONS), numbers, numbers)
def test_moments_are_linear_in_the_activation(name, factor, shift):
    phi = et.activations.resolve_activation(name)
    one = et.gaussian_moments(name)
    other = et.gaussian_moments(lambda z: factor * phi(z) + shift)
    expected = factor * np.array(one) + np.array([0, shift, 0, 0])
    np.testing.assert_allclose(other, expected, atol=1e-9)


@several
@given(st.sampled_from(ACTIVATIONS))
def test_moments_of_the_mirrored_activation(name):
    phi = et.activations.resolve_activation(name)
    one, mirrored = et.gaussian_moments(name), et.gaussian_moments(lambda z: phi(-z))
    np.testing.assert_allclose(mirrored, np.array(one) * [-1, 1, 1, 1], atol=1e-9)


def trained(x, y, params=START):
    return et.train(NETWORK.apply, params, x, y, learning_rate=0.3, num_steps=8, record_steps=(0, 3, 8))


@several
@given(inputs, labels)
def test_repeating_every_sample_changes_no_run(x, y):
    once, twice = trained(x, y), trained(np.repeat(x, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(twice.train_loss, once.train_loss, atol=1e-10)
    np.testing.assert_allclose(twice.train_outputs[:, ::2], once.train_outputs, atol=1e-10)


@several
@given(inputs, labels, st.permutations(range(N)))
def test_the_order_of_samples_changes_no_run(x, y, order):
    order = np.array(order)
    first, second = trained(x, y), trained(x[order], y[order])
    np.testing.assert_allclose(second.train_outputs, first.train_outputs[:, order], atol=1e-10)


def linear_outputs(x, y, at, rate=0.2):
    features = et.early_time_features(MOMENTS, trained="both", dim=D, trace_sigma_squared=D)
    return et.linear_model(features, x, y, learning_rate=rate).predict(at, [0, 1, 5, 100])


@several
@given(inputs, labels, st.permutations(range(N)))
def test_repeating_and_reordering_changes_no_linear_model(x, y, order):
    order = np.array(order)
    plain = linear_outputs(x, y, x)
    np.testing.assert_allclose(linear_outputs(x[order], y[order], x), plain, atol=1e-9)
    np.testing.assert_allclose(linear_outputs(np.repeat(x, 3, axis=0), np.repeat(y, 3), x), plain, atol=1e-9)


@several
@given(inputs)
def test_kernels_are_symmetric_and_positive(x):
    features = et.early_time_features(MOMENTS, trained="second", dim=D, trace_sigma_squared=D)
    for operator in (
        et.tangent_kernel(NETWORK.apply, START, x),
        et.two_layer_kernel(START, jnp.asarray(x), "softplus", trained="both"),
        et.linear_kernel(features, jnp.asarray(x)),
    ):
        matrix = np.asarray(operator.dense())
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
        assert np.linalg.eigvalsh(matrix)[0] >= -1e-9 * max(1.0, np.abs(matrix).max())


def rotation(seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(N, N)))[0]


@several
@given(spectra, labels, st.integers(0, 9), st.floats(0.01, 1.9), st.sampled_from([0.0, 0.5, 0.9]))
def test_the_closed_form_is_the_iteration(spectrum, y, seed, share, momentum):
    basis = rotation(seed)
    kernel = basis * spectrum @ basis.T
    rate = share * N / max(spectrum.max(), 0.1)  # a rate ηλ/n of at most 1.9
    dynamics = et.kernel_dynamics(kernel, y, learning_rate=rate, momentum=momentum)
    f, velocity, iterated = np.zeros(N), np.zeros(N), [np.zeros(N)]
    for _ in range(12):
        velocity = momentum * velocity + (f - y) / N
        f = f - rate * kernel @ velocity
        iterated.append(f)
    np.testing.assert_allclose(dynamics.predict(steps=list(range(13))), iterated, atol=1e-8)


@several
@given(spectra, labels, st.integers(0, 9), st.floats(0.01, 1.9))
def test_the_linear_model_is_the_iteration(spectrum, y, seed, share):
    psi = rotation(seed) * np.sqrt(spectrum)
    rate = share * N / max(spectrum.max(), 0.1)
    beta, iterated = np.zeros(N), [np.zeros(N)]
    for _ in range(12):
        beta = beta - rate / N * psi.T @ (psi @ beta - y)
        iterated.append(psi @ beta)
    model = et.linear_model(lambda x: x, psi, y, learning_rate=rate)
    np.testing.assert_allclose(model.predict(psi, list(range(13))), iterated, atol=1e-8)
    kernel = et.operators.Operator.from_matrix(jnp.asarray(psi @ psi.T))
    if np.linalg.norm(y) > 1e-3:  # Lanczos starts at y
        krylov = et.krylov.krylov_dynamics(kernel, jnp.asarray(y), learning_rate=rate, num_matvecs=N)
        np.testing.assert_allclose(krylov.coefficients(12) @ (psi @ psi.T), iterated[-1], atol=1e-6)


@several
@given(arrays(np.float64, (4,), elements=st.floats(0.1, 10)), st.floats(0.1, 10))
def test_an_exponent_does_not_depend_on_units(values, factor):
    sizes = np.array([2.0, 4.0, 8.0, 32.0])
    one, other = et.fit_power_law(sizes, values[None]), et.fit_power_law(factor * sizes, values[None] / factor)
    np.testing.assert_allclose(other.exponent, one.exponent, atol=1e-9)
