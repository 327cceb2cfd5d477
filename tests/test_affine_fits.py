import jax
import numpy as np
import pytest
from earlytime.affine_fits import affine_baseline, affine_share
from refusals import refused
from sklearn.linear_model import LogisticRegression

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = RNG.normal(size=(200, 5)) * [1, 10, 0.1, 1, 1] + 3


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


def test_refusals():
    with refused("features"):
        affine_share(X[:3], X[:3], key=KEY)
    with refused("features"):
        affine_share(X * np.nan, X, key=KEY)
    with refused("outputs"):
        affine_share(X, X[:7], key=KEY)
    with refused("outputs"):
        affine_share(X, X[:, 0], key=KEY)
    with refused("y"):
        affine_baseline(X, X[:7, 0], loss="squared", num_outputs=None, key=KEY)
