import earlytime as et
import jax
import numpy as np
import pytest
from refusals import refused

DIM = 5
X = np.asarray(et.sample_inputs(jax.random.key(0), 12, DIM, spectrum=np.linspace(0.2, 1.8, DIM), rotate=True))
TRACE = float(np.sum(np.linspace(0.2, 1.8, DIM) ** 2))
SOFTPLUS = et.gaussian_moments("softplus")


def papers_kernel(trained, x):
    """Θ^lin entry by entry, from the table of theorems rather than from features."""
    zeta, theta0, theta1, theta2 = SOFTPLUS
    nu_squared = theta1**2 * TRACE / DIM
    excess = np.linalg.norm(x, axis=1) / np.sqrt(DIM) - 1
    q = theta0 + theta1 * excess + theta2 * excess**2
    ones = np.ones((len(x), len(x)))
    first = (zeta**2 * x @ x.T + nu_squared * ones) / DIM
    second = (zeta**2 * x @ x.T + nu_squared / 2 * ones) / DIM + np.outer(q, q)
    return {"first": first, "second": second, "both": first + second}[trained]


@pytest.mark.parametrize("trained", ["first", "second", "both"])
def test_features_make_the_papers_kernels(trained):
    features = et.early_time_features(SOFTPLUS, trained=trained, dim=DIM, trace_sigma_squared=TRACE)
    psi = np.asarray(features(X))
    np.testing.assert_allclose(psi @ psi.T, papers_kernel(trained, X), rtol=1e-6)
    assert psi.shape == (12, DIM + (1 if trained == "first" else 2))


def test_trace_estimate_is_unbiased_and_is_its_formula():
    gram = X @ X.T
    pairs = sum(gram[i, j] ** 2 for i in range(12) for j in range(12) if i != j)
    np.testing.assert_allclose(et.estimate_trace_sigma_squared(X), pairs / (12 * 11), rtol=1e-12)
    np.testing.assert_allclose(et.estimate_trace_sigma_squared(X[:2]), (X[0] @ X[1]) ** 2, rtol=1e-12)
    estimates = [
        float(et.estimate_trace_sigma_squared(et.sample_inputs(jax.random.key(s), 20, 10))) for s in range(300)
    ]
    assert abs(np.mean(estimates) - 10) < 4 * np.std(estimates) / np.sqrt(300)


@pytest.mark.parametrize(
    "name, call",
    [
        ("trained", lambda: et.early_time_features(SOFTPLUS, trained="third", dim=2, trace_sigma_squared=2.0)),
        ("dim", lambda: et.early_time_features(SOFTPLUS, trained="both", dim=0, trace_sigma_squared=2.0)),
        (
            "trace_sigma_squared",
            lambda: et.early_time_features(SOFTPLUS, trained="both", dim=2, trace_sigma_squared=np.nan),
        ),
        (
            "trace_sigma_squared",
            lambda: et.early_time_features(SOFTPLUS, trained="both", dim=2, trace_sigma_squared=-1.0),
        ),
        ("x", lambda: et.estimate_trace_sigma_squared(X[:1])),
        ("x", lambda: et.estimate_trace_sigma_squared(X[0])),
        ("x", lambda: et.estimate_trace_sigma_squared(X[None])),
    ],
)
def test_bad_arguments_are_named(name, call):
    with np.errstate(all="ignore"), refused(name):
        call()


def test_the_early_phase_is_five_time_constants_of_the_loss():
    moments, dim, rate = et.gaussian_moments("erf"), 40, 0.5
    for trained, layers in (("first", 1), ("second", 1), ("both", 2)):
        steps = et.features.early_phase(moments, trained=trained, dim=dim, learning_rate=rate)
        # With Sigma = I and n >> d the feature covariance is layers * zeta^2 / d, and the loss falls at twice its rate.
        contraction = (1 - rate * layers * moments.zeta**2 / dim) ** (2 * steps)
        assert contraction == pytest.approx(np.exp(-10), rel=0.1)
    with refused("moments", saying="expected zeta"):
        et.features.early_phase(et.gaussian_moments("abs"), trained="both", dim=dim, learning_rate=rate)
