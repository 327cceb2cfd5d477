"""Which labels fit which outputs: each refusal alone, at its edge."""

import jax
import numpy as np
import pytest
from earlytime import _labels, losses
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
        ("y", "cross_entropy", (3, 2), np.array([[1, 0], [-1, 1], [0, 1]])),  # one-hot labels of another kind
        ("y", "cross_entropy", (3, 2), np.array([[1.0, 0.0], [2.0, -1.0], [0.0, 1.0]])),
        ("y", "cross_entropy", (3, 2), np.array([[1.0, 0.0], [0.5, 0.52], [0.0, 1.0]])),
        ("y", "squared", (3,), np.array(1.0)),
        ("loss", "hinge", (3,), np.ones(3)),
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
        ("cross_entropy", (3, 2), np.array([[1, 0], [0, 1], [0, 1]])),
        ("cross_entropy", (3, 1000), np.full((3, 1000), 1e-3, jax.numpy.bfloat16)),
        ("cross_entropy", (3,), np.array([1, -1, 1])),
        (len, (3, 2), np.zeros((3, 7))),
    ],
)
def test_labels_that_fit_are_not(loss, shape, y):
    _labels.check_labels(loss, outputs(*shape), y)


@pytest.mark.parametrize("loss", [losses.squared, losses.cross_entropy])
@pytest.mark.parametrize("name, shape", [("y", (3, 1)), ("outputs", (1, 3)), ("outputs", (1,)), ("y", ())])
def test_losses_refuse_what_would_only_broadcast(loss, name, shape):
    with refused(name):
        loss(np.ones(3), np.ones(shape))


def test_the_cross_entropy_refuses_labels_that_are_none():
    for outputs, y in [
        (np.ones(2), np.array([0, 1])),
        (np.ones((2, 3)), np.array([0, 3])),
        (np.ones((2, 3)), np.array([-1, 0])),
        (np.ones((2, 3)), 2 * np.eye(2, 3)),
    ]:
        with refused("y"):
            losses.cross_entropy(outputs, y)
        jax.jit(losses.cross_entropy)(outputs, y)  # where it cannot see them
