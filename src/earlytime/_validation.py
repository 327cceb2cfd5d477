"""Checks of arguments: names and shapes always, values only where they are concrete."""

import jax
import numpy as np


def is_concrete(value) -> bool:
    """Whether a value can be looked at, which a value being traced cannot."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def check_integer(name: str, value, *, at_least: int) -> None:
    """Raise unless `value` is a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name}: expected a whole number, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name}: expected at least {at_least}, got {value}")


def check_finite(name: str, value) -> None:
    """Raise if a concrete array holds an entry that is not finite."""
    if is_concrete(value):
        bad = int(np.size(value) - np.sum(np.isfinite(np.asarray(value))))
        if bad:
            raise ValueError(f"{name}: expected finite numbers, got {bad} that are not")


def check_data(x, y, *, names: tuple[str, str] = ("x", "y"), several: bool = False) -> None:
    """Raise unless x holds n >= 1 samples along its first axis, y is (n,), or (n, k) with `several`, both finite."""
    if np.ndim(x) < 2 or np.shape(x)[0] < 1:
        raise ValueError(f"{names[0]}: expected at least one sample, shape (n, d), got {np.shape(x)}")
    n = np.shape(x)[0]
    if np.shape(y)[:1] != (n,) or np.ndim(y) > 1 + several:
        shapes = f"({n},) or ({n}, k)" if several else f"({n},)"
        raise ValueError(f"{names[1]}: expected shape {shapes}, one label per sample of {names[0]}, got {np.shape(y)}")
    check_finite(names[0], x)
    check_finite(names[1], y)
