"""The precision that JAX computes in: float32 or float64, for a whole process or for a few lines."""

import jax
from earlytime._validation import check_choice

_PRECISIONS = ("float32", "float64")


def use_precision(precision: str) -> None:
    """Make JAX compute in "float32" or "float64"; call it before any array exists.

    Products of float32 matrices are then float32, too, where a GPU would round them to fewer bits.

    Raises:
        ValueError: unknown precision.
        RuntimeError: arrays of the other precision exist already.
    """
    check_choice("precision", precision, _PRECISIONS)
    wanted = precision == "float64"
    is_set = jax.config.jax_enable_x64  # type: ignore[attr-defined]  # JAX makes its flags when it runs
    if is_set != wanted and jax.live_arrays():
        raise RuntimeError("use_precision: arrays exist already; call it first, in a fresh process")
    jax.config.update("jax_enable_x64", wanted)
    jax.config.update("jax_default_matmul_precision", "float32")


def float64():
    """JAX's context for float64; its place moved between releases."""
    try:
        return jax.enable_x64(True)
    except (AttributeError, TypeError):  # JAX before 0.8
        return jax.experimental.enable_x64(True)  # type: ignore[attr-defined]
