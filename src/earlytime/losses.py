r"""Losses of single samples; training takes their mean over the samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray
from earlytime._validation import check_choice, is_concrete
from jaxtyping import Array, Float, Num

Loss = str | Callable


def squared(outputs: Float[AnyArray, "n ..."], y: Num[AnyArray, "n ..."]) -> Float[Array, " n"]:
    r"""$\frac12 \|f(x_i) - y_i\|^2$ of every sample."""
    errors = jnp.asarray(outputs - y) ** 2
    return (errors if errors.ndim == 1 else jnp.sum(errors, axis=1)) / 2


def cross_entropy(outputs: Float[AnyArray, "n ..."], y: AnyArray) -> Float[Array, " n"]:
    r"""The cross-entropy of every sample, in nats.

    For outputs (n,), labels ±1: $\log(1 + e^{-y_i f(x_i)})$. For outputs (n, k), labels that are
    classes 0 … k - 1 or rows of probabilities $p_i$: $-\sum_a p_{ia} \log \mathrm{softmax}(f(x_i))_a$.
    """
    if outputs.ndim == 1:
        return jax.nn.softplus(-y * outputs)
    log_probabilities = jax.nn.log_softmax(outputs)
    if y.ndim == 1:
        return -jnp.take_along_axis(log_probabilities, y[:, None], axis=1)[:, 0]
    return -jnp.sum(y * log_probabilities, axis=1)


LOSSES = {"squared": squared, "cross_entropy": cross_entropy}


def resolve_loss(loss: Loss) -> Callable:
    """The function (outputs, y) -> (n,) of a name, or the function itself.

    Raises:
        ValueError: an unknown name.
    """
    if callable(loss):
        return loss
    check_choice("loss", loss, LOSSES)
    return LOSSES[loss]


def check_labels(loss: Loss, outputs, y, *, name: str = "y", source: str = "apply_fn") -> None:
    """Raise unless outputs are (n,) or (n, k) and the labels fit them and the loss."""
    n = np.shape(y)[0]
    if len(outputs.shape) not in (1, 2) or outputs.shape[0] != n:
        raise ValueError(f"{source}: expected outputs of shape ({n},) or ({n}, k), got {outputs.shape}")
    if callable(loss):
        return
    classes = resolve_loss(loss) is cross_entropy and len(outputs.shape) == 2 and np.ndim(y) == 1
    if not classes and np.shape(y) != outputs.shape:
        what = source if len(outputs.shape) > np.ndim(y) else name
        raise ValueError(f"{what}: expected outputs and labels of one shape, got {outputs.shape} and {np.shape(y)}")
    if classes and not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise ValueError(f"{name}: expected whole numbers, the classes, got {np.result_type(y)}")
    if loss == "cross_entropy" and is_concrete(y):
        values = np.asarray(y)
        if classes and (values.min() < 0 or values.max() >= outputs.shape[1]):
            raise ValueError(f"{name}: expected classes from 0 to {outputs.shape[1] - 1}, got {values.max()}")
        if len(outputs.shape) == 1 and not np.all(np.abs(values) == 1):
            raise ValueError(f"{name}: expected labels +1 and -1 for outputs of shape ({n},)")
