"""Labels that fit the outputs and the loss."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import real, single
from earlytime._shards import is_spread, on_its_devices
from earlytime._validation import check_choice, is_concrete

Loss = str | Callable
NAMES = ("squared", "cross_entropy")


def check_labels(loss: Loss, outputs, y, *, name: str = "y", source: str = "apply_fn") -> None:
    """Raise unless outputs are (n,) or (n, k) and the labels fit them and the loss."""
    if not callable(loss):
        check_choice("loss", loss, NAMES)
    if not np.ndim(y):
        raise ValueError(f"{name}: expected the labels of samples, got a single one")
    n = np.shape(y)[0]
    if len(outputs.shape) not in (1, 2) or outputs.shape[0] != n:
        raise ValueError(f"{source}: expected outputs of shape ({n},) or ({n}, k), got {outputs.shape}")
    if callable(loss):
        return
    classes = _are_classes(loss, outputs, y)
    if not classes and np.shape(y) != outputs.shape:
        what = source if len(outputs.shape) > np.ndim(y) else name
        raise ValueError(f"{what}: expected outputs and labels of one shape, got {outputs.shape} and {np.shape(y)}")
    if classes and not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise ValueError(f"{name}: expected whole numbers, the classes, got {np.result_type(y)}")
    if loss == "cross_entropy" and is_concrete(y):
        if len(outputs.shape) == 1:
            check_signs(name, y)
        elif classes:
            least, most = _known(lambda y: (y.min(initial=0), y.max(initial=0)), y)
            if least < 0 or most >= outputs.shape[1]:
                raise ValueError(f"{name}: expected classes from 0 to {outputs.shape[1] - 1}, got {least} to {most}")
        elif not _known(_are_probabilities, y):
            raise ValueError(f"{name}: expected rows of probabilities, or the classes themselves")


def check_signs(name: str, y) -> None:
    """Raise unless all labels that can be looked at are 1 or -1."""
    if is_concrete(y) and not _known(lambda y: (abs(y) == 1).all(), y):
        raise ValueError(f"{name}: expected labels +1 and -1 for outputs of shape {np.shape(y)}")


def _are_probabilities(y):
    return (y >= 0).all() & (abs(y.astype("float32").sum(axis=1) - 1) < 1e-2).all()


def _known(f: Callable, y):
    return on_its_devices(f, y) if is_spread(y) else f(np.asarray(y))


def as_labels(loss: Loss, outputs, y):
    """Labels as numbers of the outputs' kind, but for classes, and for a loss that is a function."""
    if callable(loss) or _are_classes(loss, outputs, y):
        return single(y)
    return real("y", y).astype(jnp.float32 if jnp.finfo(outputs.dtype).bits < 32 else outputs.dtype)


def _are_classes(loss: Loss, outputs, y) -> bool:
    return loss == "cross_entropy" and len(outputs.shape) == 2 and np.ndim(y) == 1
