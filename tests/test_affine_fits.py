import jax
import numpy as np
import pytest
from earlytime._arrays import host_random
from earlytime.affine_fits import _ridge, affine_baseline, affine_share
from refusals import refused
from sklearn.linear_model import LogisticRegression

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = RNG.normal(size=(200, 5)) * [1, 10, 0.1, 1, 1] + 3


def standardized(x, of):
    spread = of.std(axis=0)
    return (x - of.mean(axis=0)) / np.where(spread == 0, 1, spread)


def by_hat_matrix(phi, g, phi_new):
    """Ridge regression with the smallest generalized cross-validation (Golub et al. 1979), among the samples: what a
    fit misses is λ(ZZᵀ + λ)⁻¹ of what varies."""
    n, (z, z_new), off = len(phi), (standardized(each, phi) for each in (phi, phi_new)), g - g.mean(axis=0)
    unit, found = np.trace(z @ z.T) / min(z.shape), []
    for ridge in [1e-8, *10 ** np.arange(-4.0, 3.1, 0.5)]:
        inverse = np.linalg.inv(z @ z.T + ridge * unit * np.eye(n))
        missed = ridge * unit * inverse - 1 / n
        free = np.trace(missed) / n
        score = np.sum((missed @ off) ** 2) / free**2 if free > 1e-9 else np.inf
        found.append((score, g.mean(axis=0) + z_new @ z.T @ inverse @ off))
    return min(found, key=lambda each: each[0])[1]


@pytest.mark.parametrize("n, d", [(15, 4), (9, 12), (15, 1)])
def test_the_fit_is_that_of_its_hat_matrix(n, d):
    draw = np.random.default_rng(4)
    phi, phi_new = draw.normal(size=(n, d)) * 10.0 ** np.arange(d), draw.normal(size=(5, d)) * 10.0 ** np.arange(d)
    if d > 1:
        phi[:, 0] = 7.0
    affine = standardized(phi, phi) @ draw.normal(size=(d, 2)) + 3
    levels = np.geomspace(1e-3 if d < n else 1.0, 1e3, 20)  # no noise leaves a wide fit to rounding
    noise = draw.normal(size=(20, n, 2)) * levels[:, None, None]
    found = _ridge(phi, affine + noise, phi_new)
    for each, ours in zip(affine + noise, found):
        np.testing.assert_allclose(ours, by_hat_matrix(phi, each, phi_new), rtol=1e-6, atol=1e-6)


def test_the_share_is_that_of_both_halves():
    n, draw = 21, host_random(KEY)
    order, other = draw.permutation(n), draw.permutation(n)
    phi, g = RNG.normal(size=(n, 3)), RNG.normal(size=(n, 2))
    g = g + phi @ [[1.0, 0], [0, 2], [1, 1]]

    def explained(phi):
        left = total = 0.0
        for fit, test in ((order[:10], order[10:]), (order[10:], order[:10])):
            left += np.sum((g[test] - by_hat_matrix(phi[fit], g[fit], phi[test])) ** 2)
            total += np.sum((g[test] - g[fit].mean(axis=0)) ** 2)
        return 1 - left / total

    for scale in (1.0, 1e-6):
        found = affine_share(phi, scale * g, key=KEY)
        np.testing.assert_allclose(found, [explained(phi), explained(phi[other])], rtol=1e-6)
    assert affine_share(X[:4], X[:4], key=KEY).share.shape == ()  # the fewest


def test_the_share_of_sums_of_affine_and_other_outputs():
    affine = (X - 3) / [1, 10, 0.1, 1, 1] @ RNG.normal(size=(5, 2)) + [4.0, -1.0]
    other = RNG.normal(size=(200, 2))
    share = lambda outputs: float(affine_share(X, outputs, key=KEY).share)
    assert share(affine) == pytest.approx(1, abs=1e-6)
    assert abs(share(other)) < 0.1
    mixed = affine + other
    assert share(mixed) == pytest.approx(np.var(affine, axis=0).sum() / np.var(mixed, axis=0).sum(), abs=0.07)
    assert share(100 * mixed - 5) == pytest.approx(share(mixed), rel=1e-6)


def test_several_outputs_at_once_are_as_each_alone_and_constants_have_no_share():
    outputs = np.stack([X[:, :1] ** 2, X[:, :1], np.ones((200, 1))])
    together = affine_share(X, outputs, key=KEY)
    alone = [float(affine_share(X, each, key=KEY).share) for each in outputs]
    np.testing.assert_allclose(together.share, alone, rtol=1e-9)
    assert np.isnan(together.share[2]) and together.share.shape == (3,)


def test_a_fit_with_as_many_inputs_as_samples_does_not_claim_what_is_noise():
    wide = RNG.normal(size=(60, 50))
    assert affine_share(wide, RNG.normal(size=(60, 1)), key=KEY).share < 0.2
    found = affine_share(wide, wide @ np.ones((50, 1)), key=KEY)
    assert found.share > 0.2 and found.floor < 0.2


def test_the_baseline_is_least_squares():
    y = np.asarray(X @ np.arange(5.0) + np.cos(3 * X[:, 0]), np.float32)
    found = affine_baseline(X, y, loss="squared", num_outputs=None, key=KEY)
    with_one = np.append(X, np.ones((200, 1)), axis=1)
    residual = y - with_one @ np.linalg.lstsq(with_one, y, rcond=None)[0]
    assert found.train_loss == pytest.approx(np.mean(residual**2) / 2, rel=1e-3)
    assert found.ridge == 0.0
    assert found.held_out_loss == pytest.approx(found.train_loss, rel=0.3) and found.held_out_loss != found.train_loss


def test_the_baseline_of_classes_is_logistic_regression():
    classes = np.argmax(X[:, :3] - 3 + RNG.gumbel(size=(200, 3)), axis=1)
    found = affine_baseline(X, classes, loss="cross_entropy", num_outputs=3, key=KEY)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    model = LogisticRegression(C=np.inf, max_iter=1000).fit(scaled, classes)
    expected = -np.mean(model.predict_log_proba(scaled)[np.arange(200), classes])
    assert found.train_loss == pytest.approx(expected, rel=1e-3)


def test_with_few_samples_the_ridge_is_what_serves_samples_that_were_left_out():
    wide = RNG.normal(size=(80, 60))
    y = np.asarray(wide[:, 0] + RNG.normal(size=80), np.float32)
    found = affine_baseline(wide, y, loss="squared", num_outputs=None, key=KEY)
    assert found.ridge > 0 and found.train_loss < found.held_out_loss < 2 * np.mean(y**2)


RIDGES = (100.0, 1.0, 0.01, 0.0001)


@pytest.mark.parametrize("k", [None, 2])
def test_the_ridge_of_least_squares_by_its_normal_equations(k):
    n, d = 24, 5
    phi = np.append(RNG.normal(size=(n, d - 1)) * [1, 5, 1, 1], np.ones((n, 1)), axis=1)
    y = phi[:, :2] @ RNG.normal(size=(2, k or 1)) + RNG.normal(size=(n, k or 1))
    z, is_test = standardized(phi, phi), host_random(KEY).permutation(n) < n // 4

    def losses(rows, ridge):
        """Of a fit to some rows: on all samples, and on those left out."""
        one, count = np.append(z, np.ones((n, 1)), axis=1), rows.sum()
        penalty = ridge * np.diag([1.0] * d + [0.0])
        weights = np.linalg.lstsq(one[rows].T @ one[rows] / count + penalty, one[rows].T @ y[rows] / count, rcond=None)[
            0
        ]
        each = np.sum((y - one @ weights) ** 2, axis=1) / 2
        return each.mean(), each[is_test].mean()

    held_out = [losses(~is_test, ridge)[1] for ridge in RIDGES]
    best = int(np.argmin(held_out))
    found = affine_baseline(phi, y if k else y[:, 0], loss="squared", num_outputs=k, key=KEY)
    assert found.ridge == pytest.approx(RIDGES[best])
    assert found.held_out_loss == pytest.approx(held_out[best], rel=1e-6)
    assert found.train_loss == pytest.approx(losses(np.ones(n, bool), RIDGES[best])[0], rel=1e-6)
    assert (
        affine_baseline(*[np.tile(each, (2, 1)) for each in (phi, y)], loss="squared", num_outputs=k or 1, key=KEY)[2]
        == 0
    )


@pytest.mark.parametrize("k", [None, 3])
def test_the_ridge_of_classes_is_that_of_logistic_regression(k):
    n, d = 5 * 2 * (k or 1) - 1, 2
    phi = RNG.normal(size=(n + 1, d)) * [1, 5]
    classes = np.argmax(phi @ RNG.normal(size=(d, k or 2)) + RNG.gumbel(size=(n + 1, k or 2)), axis=1)
    labels = classes if k else 2 * classes - 1
    found = affine_baseline(phi[:n], labels[:n], loss="cross_entropy", num_outputs=k, key=KEY)
    z, is_test = standardized(phi[:n], phi[:n]), host_random(KEY).permutation(n) < n // 4

    def losses(rows, ridge):
        model = LogisticRegression(C=1 / (ridge * rows.sum()), tol=1e-10, max_iter=10000).fit(
            z[rows], classes[:n][rows]
        )
        scores = model.decision_function(z)
        scores = scores if k else np.stack([0 * scores, scores], axis=1)
        each = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(n), classes[:n]]
        return each.mean(), each[is_test].mean()

    # With two classes sklearn has one vector of weights, as outputs (n,) have.
    held_out = [losses(~is_test, ridge)[1] for ridge in RIDGES]
    best = int(np.argmin(held_out))
    assert found.ridge == pytest.approx(RIDGES[best])
    assert found.held_out_loss == pytest.approx(held_out[best], rel=2e-3)
    assert found.train_loss == pytest.approx(losses(np.ones(n, bool), RIDGES[best])[0], rel=2e-3)
    assert affine_baseline(phi, labels, loss="cross_entropy", num_outputs=k, key=KEY).ridge == 0


def test_refusals():
    with refused("features"):
        affine_share(X[:3], X[:3], key=KEY)
    with refused("features"):
        affine_share(X[:, 0], X, key=KEY)
    with refused("features"):
        affine_baseline(X[:3], X[:3, 0], loss="squared", num_outputs=None, key=KEY)
    with refused("features"):
        affine_share(X * np.nan, X, key=KEY)
    with refused("outputs"):
        affine_share(X, X[:7], key=KEY)
    with refused("outputs"):
        affine_share(X, X[:, 0], key=KEY)
    with refused("y"):
        affine_baseline(X, X[:7, 0], loss="squared", num_outputs=None, key=KEY)
