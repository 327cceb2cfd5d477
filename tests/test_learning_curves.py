import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import learning_curves as lc
from refusals import refused
from scipy import integrate

RELU = et.deep_kernels.deep_kernel("relu", depth=1)
SOFTPLUS = et.deep_kernels.deep_kernel("softplus", depth=1)


def sphere(seed, n, dim):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return x * np.sqrt(dim) / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", [1, 2])
def test_harmonics_have_mean_0_variance_1_and_are_eigenfunctions(degree):
    """Laplace's equation on ℝ^d: a homogeneous harmonic polynomial has no Laplacian."""
    dim = 5
    x = jnp.asarray(sphere(0, 20000, dim))
    y = np.asarray(lc.harmonic_labels(jax.random.key(1), x, degree=degree))
    assert abs(y.mean()) < 0.03 and abs(y.var() - 1) < 0.04
    # on the axes ±√d e_i a harmonic of degree 2 is even and sums to 0, one of degree 1 is odd
    axes = np.sqrt(dim) * np.concatenate([np.eye(dim), -np.eye(dim)])
    up, down = np.split(np.asarray(lc.harmonic_labels(jax.random.key(1), jnp.asarray(axes), degree=degree)), 2)
    np.testing.assert_allclose(up, down if degree == 2 else -down, atol=1e-12)
    assert degree == 1 or abs(up.sum()) < 1e-12


@pytest.mark.parametrize("degree", [1, 2])
def test_no_harmonic_of_a_degree_is_preferred(degree):
    """Over keys the covariance of two labels is P_k of their cosine."""
    dim, x = 4, sphere(1, 6, 4)
    keys = jax.random.split(jax.random.key(0), 5000)
    y = np.asarray(jax.vmap(lambda key: lc.harmonic_labels(key, jnp.asarray(x), degree=degree))(keys))
    rho = x @ x.T / dim
    gegenbauer = rho if degree == 1 else (dim * rho**2 - 1) / (dim - 1)
    np.testing.assert_allclose(y.T @ y / len(y), gegenbauer, atol=0.08)


@pytest.mark.parametrize("dim", [3, 16, 64])
def test_eigenvalues_by_the_funk_hecke_integral(dim):
    kernel = lambda rho: np.exp(rho) + rho**3
    spectrum = lc.sphere_spectrum(kernel, dim=dim, num_degrees=3)
    density = lambda t: (1 - t**2) ** ((dim - 3) / 2)
    whole = integrate.quad(density, -1, 1, epsabs=0)[0]
    gegenbauer = [lambda t: 1.0, lambda t: t, lambda t: (dim * t**2 - 1) / (dim - 1)]
    exact = [
        integrate.quad(lambda t, p=p: kernel(t) * p(t) * density(t), -1, 1, epsabs=0)[0] / whole for p in gegenbauer
    ]
    np.testing.assert_allclose(spectrum.eigenvalues, exact, rtol=1e-9)
    np.testing.assert_array_equal(spectrum.multiplicities, [1, dim, dim * (dim + 1) / 2 - 1])


@pytest.mark.parametrize("name, kernel", [("relu", RELU), ("softplus", SOFTPLUS)])
def test_eigenvalues_of_a_network_are_factorials_of_its_series(name, kernel):
    a = et.activations.hermite_coefficients(name, degree=2)
    for dim, tolerance in ((64, 0.1), (1024, 0.01)):
        spectrum = lc.sphere_spectrum(lambda rho: kernel(1.0, 1.0, rho).ntk, dim=dim, num_degrees=4)
        for k in range(3):
            np.testing.assert_allclose(
                spectrum.eigenvalues[k], (k + 1) * a[k] ** 2 * [1, 1, 2][k] / dim**k, rtol=tolerance
            )
        assert spectrum.eigenvalues[3] < 1e-12  # of these two activations


def test_the_spectrum_adds_up_to_the_diagonal():
    kernel = lambda rho: RELU(1.0, 1.0, rho).ntk
    spectrum = lc.sphere_spectrum(kernel, dim=8, num_degrees=4)
    assert abs(spectrum.multiplicities @ spectrum.eigenvalues + spectrum.rest - kernel(1.0)) < 1e-12
    more = lc.sphere_spectrum(kernel, dim=8, num_degrees=7)
    np.testing.assert_allclose(more.eigenvalues[:4], spectrum.eigenvalues)
    np.testing.assert_allclose(more.multiplicities[4:6], [294, 672])  # (2k + 6)/k · C(k + 5, k - 1)
    assert 0 < more.rest < spectrum.rest


def test_a_matrix_of_the_kernel_has_these_eigenvalues():
    """n λ_k with multiplicity N_k, for many samples."""
    dim, n = 4, 1500
    kernel = lambda rho: np.exp(rho)
    spectrum = lc.sphere_spectrum(kernel, dim=dim, num_degrees=3)
    x = sphere(2, n, dim)
    found = np.linalg.eigvalsh(kernel(x @ x.T / dim))[::-1] / n
    np.testing.assert_allclose(found[0], spectrum.eigenvalues[0], rtol=0.02)
    np.testing.assert_allclose(found[1:5].mean(), spectrum.eigenvalues[1], rtol=0.04)
    np.testing.assert_allclose(found[5:14].mean(), spectrum.eigenvalues[2], rtol=0.06)


def simulated(kernel, dim, n, *, ridge, noise, runs=12):
    """Kernel ridge regression of y₁ + 2 y₂ by brute force: the mean test error, noise included."""
    errors = []
    for seed in range(runs):
        x = sphere(seed, n + 300, dim)
        keys = jax.random.split(jax.random.key(seed))
        y = sum(k * np.asarray(lc.harmonic_labels(keys[k - 1], jnp.asarray(x), degree=k)) for k in (1, 2))
        theta = kernel(x @ x[:n].T / dim)
        seen = y[:n] + np.sqrt(noise) * np.random.default_rng(seed).normal(size=n)
        f = theta[n:] @ np.linalg.solve(theta[:n] + ridge * np.eye(n), seen)
        errors.append(np.mean((f - y[n:]) ** 2) + noise)
    return np.mean(errors)


@pytest.mark.parametrize("n, ridge, noise", [(30, 0.0, 0.0), (150, 0.0, 0.5), (150, 2.0, 0.5), (400, 0.3, 1.0)])
def test_the_curve_is_that_of_regression(n, ridge, noise):
    kernel, dim = lambda rho: np.exp(rho), 10
    spectrum = lc.sphere_spectrum(kernel, dim=dim, num_degrees=6)
    (error,) = lc.ridge_learning_curve(spectrum, [0, 1, 4, 0, 0, 0], [n], ridge=ridge, noise=noise)
    np.testing.assert_allclose(error, simulated(kernel, dim, n, ridge=ridge, noise=noise), rtol=0.08)


def test_a_narrow_density_is_resolved():
    spectrum = lc.sphere_spectrum(lambda rho: 1 + rho, dim=10_000, num_degrees=2)
    np.testing.assert_allclose(spectrum.eigenvalues, [1, 1e-4], rtol=1e-9)


def test_the_scale_of_a_kernel_is_the_scale_of_its_spectrum():
    for scale in (1e-8, 1.0, 1e8):
        spectrum = lc.sphere_spectrum(lambda rho: scale * (1 + rho), dim=6, num_degrees=5)
        np.testing.assert_allclose(spectrum.eigenvalues / scale, [1, 1 / 6, 0, 0, 0], atol=1e-12)
        assert spectrum.eigenvalues.min() >= 0 and spectrum.rest >= 0
    assert lc.sphere_spectrum(np.exp, dim=3, num_degrees=60).eigenvalues.min() == 0  # not what rounding leaves below
    spectrum = lc.sphere_spectrum(np.exp, dim=6, num_degrees=3)
    small = spectrum._replace(eigenvalues=1e-8 * spectrum.eigenvalues, rest=0.0)
    found = lc.ridge_learning_curve(small, [0, 1, 1], [5, 50], ridge=1e-9)
    expected = lc.ridge_learning_curve(spectrum._replace(rest=0.0), [0, 1, 1], [5, 50], ridge=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_circle_has_harmonics():
    angle = np.linspace(0, 2 * np.pi, 9)[:8]
    x = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for degree in (1, 2):
        y = np.asarray(lc.harmonic_labels(jax.random.key(1), jnp.asarray(x), degree=degree))
        np.testing.assert_allclose([y.mean(), np.mean(y**2)], [0, 1], atol=1e-12)


def test_limits_of_the_curve():
    spectrum = lc.sphere_spectrum(np.exp, dim=10, num_degrees=3)
    huge_ridge, many, few = (
        lc.ridge_learning_curve(spectrum, [0, 1, 4], [n], ridge=ridge, noise=0.5)[0]
        for n, ridge in ((50, 1e9), (10**9, 0.0), (1, 1e3))
    )
    np.testing.assert_allclose([huge_ridge, many, few], [5.5, 0.5, 5.5], rtol=1e-2)


def test_the_curve_solves_its_own_equation():
    """With one degree the equation is quadratic: nκ² + (nλ - Nλ - δ)κ - δλ = 0."""
    spectrum, n = lc.SphereSpectrum(np.array([0.2]), np.array([7.0]), 0.5), 5.0
    lam, delta, big = 0.2, 0.5 + 0.25, 7.0
    b = n * lam - big * lam - delta
    kappa = (-b + np.sqrt(b**2 + 4 * n * delta * lam)) / (2 * n)
    share = lam / (lam + kappa)
    error = ((1 - share) ** 2 * 3 + 0.1) / (1 - big * share**2 / n)
    found = lc.ridge_learning_curve(spectrum, [3.0], [5], ridge=0.25, noise=0.1)
    np.testing.assert_allclose(found, [error], rtol=1e-12)


def test_softplus_has_a_peak_and_relu_has_none():
    """At n near N_2, the number of harmonics of degree 2, where nearly nothing of the kernel is above degree 2."""
    errors = {}
    for name, kernel in (("relu", RELU), ("softplus", SOFTPLUS)):
        spectrum = lc.sphere_spectrum(lambda rho: kernel(1.0, 1.0, rho).ntk, dim=64, num_degrees=4)
        sizes = spectrum.multiplicities[2] * np.geomspace(0.25, 4, 81)
        errors[name] = lc.ridge_learning_curve(spectrum, [0, 1, 1, 0], sizes, noise=0.25)
    assert np.all(np.diff(errors["relu"]) < 0)
    assert np.diff(errors["softplus"]).max() > 0
    peak = np.geomspace(0.25, 4, 81)[20:][np.argmax(errors["softplus"][20:])]
    assert 0.95 < peak < 1.1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_labels_have_the_precision_of_the_inputs(dtype):
    x = jnp.asarray(sphere(0, 3, 4), dtype)
    for degree in (1, 2):
        assert lc.harmonic_labels(jax.random.key(0), x, degree=degree).dtype == dtype
        traced = jax.jit(lambda x: lc.harmonic_labels(jax.random.key(0), x, degree=degree))(x)
        np.testing.assert_allclose(traced, lc.harmonic_labels(jax.random.key(0), x, degree=degree), rtol=1e-4)


def test_what_is_refused():
    key, x = jax.random.key(0), jnp.asarray(sphere(0, 3, 4))
    spectrum = lc.sphere_spectrum(np.exp, dim=4, num_degrees=2)
    with refused("degree"):
        lc.harmonic_labels(key, x, degree=3)
    with refused("x", saying="norm"):
        lc.harmonic_labels(key, 2 * x, degree=1)
    with refused("x", saying="2 dimensions"):
        lc.harmonic_labels(key, jnp.ones((3, 1)), degree=1)
    with refused("dim"):
        lc.sphere_spectrum(np.exp, dim=2, num_degrees=2)
    with refused("num_degrees"):
        lc.sphere_spectrum(np.exp, dim=4, num_degrees=0)
    with refused("kernel", saying="shape"):
        lc.sphere_spectrum(lambda rho: 1.0, dim=4, num_degrees=2)
    with refused("kernel", saying="finite"):
        lc.sphere_spectrum(lambda rho: np.where(rho == 1, np.inf, rho), dim=4, num_degrees=2)
    with refused("kernel", saying="negative"):
        lc.sphere_spectrum(lambda rho: -rho, dim=4, num_degrees=2)
    with refused("power", saying="each degree"):
        lc.ridge_learning_curve(spectrum, [1.0], [3])
    with refused("power"):
        lc.ridge_learning_curve(spectrum, [1.0, -1.0], [3])
    for num_samples in ([0], 3, [], [3, 0.5], [3, np.inf], [[3]]):
        with refused("num_samples"):
            lc.ridge_learning_curve(spectrum, [1.0, 1.0], num_samples)
    with refused("ridge"):
        lc.ridge_learning_curve(spectrum, [1.0, 1.0], [3], ridge=-1.0)
    with refused("noise"):
        lc.ridge_learning_curve(spectrum, [1.0, 1.0], [3], noise=-1.0)
    with refused("ridge", saying="leaves nothing out"):
        lc.ridge_learning_curve(lc.sphere_spectrum(lambda rho: rho, dim=4, num_degrees=2), [1.0, 1.0], [3])
