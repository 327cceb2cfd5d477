r"""Losses of single samples; training takes their mean over the samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, floating
from earlytime._labels import NAMES, Loss, check_labels
from earlytime._validation import check_choice
from jaxtyping import Array, Float, Num


def squared(outputs: Float[AnyArray, "n ..."], y: Num[AnyArray, "n ..."]) -> Float[Array, " n"]:
    r"""$\frac12 \|f(x_i) - y_i\|^2$ of every sample.

    Raises:
        ValueError: outputs and labels of different shapes.
    """
    outputs = floating("outputs", outputs)
    check_labels("squared", outputs, y, source="outputs")
    errors = jnp.asarray(outputs - floating("y", y)) ** 2
    return (errors if errors.ndim == 1 else jnp.sum(errors, axis=1)) / 2


def cross_entropy(outputs: Float[AnyArray, "n ..."], y: AnyArray) -> Float[Array, " n"]:
    r"""The cross-entropy of every sample, in nats.

    For outputs (n,), labels ±1: $\log(1 + e^{-y_i f(x_i)})$. For outputs (n, k), labels that are
    classes 0 … k - 1 or rows of probabilities $p_i$: $-\sum_a p_{ia} \log \mathrm{softmax}(f(x_i))_a$.

    Raises:
        ValueError: labels of another shape or, where they can be looked at, labels that are none of these.
    """
    outputs = floating("outputs", outputs)
    check_labels("cross_entropy", outputs, y, source="outputs")
    if outputs.ndim == 1:
        return jax.nn.softplus(-floating("y", y) * outputs)
    log_probabilities = jax.nn.log_softmax(outputs)
    if np.ndim(y) == 1:
        return -jnp.take_along_axis(log_probabilities, jnp.asarray(y)[:, None], axis=1)[:, 0]
    return -jnp.sum(floating("y", y) * log_probabilities, axis=1)


LOSSES = dict(zip(NAMES, (squared, cross_entropy)))


def resolve_loss(loss: Loss) -> Callable:
    """The function (outputs, y) -> (n,) of a name, or the function itself.

    Raises:
        ValueError: an unknown name.
    """
    if callable(loss):
        return loss
    check_choice("loss", loss, LOSSES)
    return LOSSES[loss]
