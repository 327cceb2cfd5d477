"""Labels that fit the outputs and the loss."""

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import real, single
from earlytime._shards import is_spread, on_its_devices
from earlytime._validation import is_concrete
from earlytime.losses import Loss, cross_entropy, resolve_loss


def check_labels(loss: Loss, outputs, y, *, name: str = "y", source: str = "apply_fn") -> None:
    """Raise unless outputs are (n,) or (n, k) and the labels fit them and the loss."""
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
        least, most, signs = on_its_devices(_extent, y) if is_spread(y) else _extent(np.asarray(y))
        if classes and (least < 0 or most >= outputs.shape[1]):
            raise ValueError(f"{name}: expected classes from 0 to {outputs.shape[1] - 1}, got {most}")
        if len(outputs.shape) == 1 and not signs:
            raise ValueError(f"{name}: expected labels +1 and -1 for outputs of shape ({n},)")


def _extent(y):
    """The least and the largest label, and whether all are 1 or -1."""
    return y.min(), y.max(), (abs(y) == 1).all()


def as_labels(loss: Loss, outputs, y):
    """Labels as numbers of the outputs' kind, but for classes, and for a loss that is a function."""
    if callable(loss) or _are_classes(loss, outputs, y):
        return single(y)
    return real("y", y).astype(jnp.float32 if jnp.finfo(outputs.dtype).bits < 32 else outputs.dtype)


def _are_classes(loss: Loss, outputs, y) -> bool:
    return resolve_loss(loss) is cross_entropy and len(outputs.shape) == 2 and np.ndim(y) == 1
