import numpy as np
import pytest
from earlytime.input_statistics import input_statistics
from refusals import refused

RNG = np.random.default_rng(0)


def test_the_statistics_are_their_definitions():
    x = RNG.normal(size=(9, 4)) * [1.0, 2.0, 0.5, 3.0] + [1.0, 0.0, 0.0, -1.0]
    found = input_statistics(np.append(x, np.full((9, 1), 7.0), axis=1)[:, :4])
    squares = np.sum(x**2, axis=1)
    assert found.mean_square == pytest.approx(np.mean(squares) / 4)
    assert found.norm_spread == pytest.approx(np.std(squares) / np.mean(squares))
    cosines = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for i in range(9) for j in range(9) if i != j]
    assert found.rms_cosine == pytest.approx(np.sqrt(np.mean(np.square(cosines))))
    covariance = np.cov(x.T, bias=True)
    assert found.effective_dim == pytest.approx(np.trace(covariance) ** 2 / np.sum(covariance**2))
    assert found.mean_share == pytest.approx(np.sum(x.mean(axis=0) ** 2) / np.mean(squares))
    assert found.scale_ratio == pytest.approx(x.std(axis=0).max() / x.std(axis=0).min())
    assert (found.num_samples, found.dim, found.num_constant) == (9, 4, 0)


def test_more_columns_than_samples_and_columns_that_never_change():
    wide = RNG.normal(size=(4, 30))
    found, turned = input_statistics(wide), input_statistics(np.append(wide, np.full((4, 2), 3.0), axis=1))
    covariance = np.cov(wide.T, bias=True)
    assert found.effective_dim == pytest.approx(np.trace(covariance) ** 2 / np.sum(covariance**2))
    assert turned.num_constant == 2 and turned.scale_ratio == pytest.approx(found.scale_ratio)


def test_isotropic_inputs_have_what_the_theorems_assume():
    found = input_statistics(RNG.normal(size=(4000, 50)))
    assert found.mean_square == pytest.approx(1, abs=0.02)
    assert found.norm_spread == pytest.approx(np.sqrt(2 / 50), rel=0.05)
    assert found.rms_cosine == pytest.approx(1 / np.sqrt(50), rel=0.02)
    assert found.effective_dim == pytest.approx(50, rel=0.03)
    assert found.mean_share < 0.002


def test_an_input_of_zeros_has_no_angle():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert input_statistics(x).rms_cosine == 0.0


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_shares_know_no_scale(scale):
    x = np.append(RNG.normal(size=(9, 4)), np.full((9, 1), 0.1), axis=1)
    x[0, 0] = 0.0
    found, scaled = input_statistics(x), input_statistics(scale * x)
    assert found.num_constant == scaled.num_constant == 1
    np.testing.assert_allclose(scaled._replace(mean_square=0), found._replace(mean_square=0), rtol=1e-9)


def test_the_fewest_inputs():
    two = input_statistics(np.array([[1.0], [3.0]]))
    assert (two.num_samples, two.dim, two.mean_square, two.rms_cosine) == (2, 1, 5.0, 1.0)
    assert np.isnan(input_statistics(np.array([[1.0, 0.0], [0.0, 0.0]])).rms_cosine)  # one direction, and no pair


def test_orthogonal_inputs_have_an_angle_of_ninety_degrees_whatever_rounding_does():
    for seed in range(60):
        x = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 3)))[0].T
        assert 0 <= input_statistics(x).rms_cosine < 1e-7


def test_refusals():
    for x in (np.ones((5, 3)), np.ones((1, 3)), np.ones(4), np.zeros((4, 0)), np.full((3, 2), np.nan)):
        with refused("x"):
            input_statistics(x)
