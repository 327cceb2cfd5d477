"""Which labels fit which outputs: each refusal alone, at its edge."""

import jax
import numpy as np
import pytest
from earlytime import _labels
from refusals import refused


def outputs(*shape):
    return jax.ShapeDtypeStruct(shape, np.float64)


@pytest.mark.parametrize(
    "name, loss, shape, y",
    [
        ("apply_fn", "squared", (3, 2, 2), np.zeros(3)),
        ("apply_fn", "squared", (4,), np.zeros(3)),
        ("apply_fn", "squared", (4, 3), np.zeros((3, 3))),
        ("apply_fn", len, (), np.zeros(3)),
        ("apply_fn", "squared", (3, 2), np.zeros(3)),
        ("y", "squared", (3,), np.zeros((3, 2))),
        ("y", "squared", (3, 2), np.zeros((3, 1))),
        ("y", "cross_entropy", (3, 2), np.zeros((3, 1))),
        ("y", "cross_entropy", (3, 3), np.zeros(3)),
        ("y", "cross_entropy", (3, 3), np.array([0, -1, 2])),
        ("y", "cross_entropy", (3, 3), np.array([0, 1, 3])),
        ("y", "cross_entropy", (3,), np.array([1.0, -1.0, 0.5])),
    ],
)
def test_labels_that_do_not_fit_are_refused(name, loss, shape, y):
    with refused(name):
        _labels.check_labels(loss, outputs(*shape), y)


@pytest.mark.parametrize(
    "loss, shape, y",
    [
        ("squared", (3,), np.array([0.3, 2.0, 0.0])),
        ("squared", (3, 2), np.zeros((3, 2))),
        ("cross_entropy", (3, 3), np.array([0, 1, 2])),
        ("cross_entropy", (3, 2), np.full((3, 2), 0.5)),
        ("cross_entropy", (3,), np.array([1, -1, 1])),
        (len, (3, 2), np.zeros((3, 7))),
    ],
)
def test_labels_that_fit_are_not(loss, shape, y):
    _labels.check_labels(loss, outputs(*shape), y)
