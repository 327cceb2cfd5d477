"""Checks of arguments: names and shapes always, values only where they are concrete."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._chunks import is_chunks
from earlytime._shards import is_spread, on_its_devices

TRAINED = ("first", "second", "both")


def is_concrete(value) -> bool:
    """Whether a value can be looked at, which a value being traced cannot."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def check_choice(name: str, value, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of the strings."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def check_trained(trained: str) -> None:
    """Raise unless `trained` names layers of a two-layer network."""
    check_choice("trained", trained, TRAINED)


def check_integer(name: str, value, *, at_least: int, at_most: int | None = None) -> None:
    """Raise unless `value` is a whole number of at least `at_least`, and at most `at_most` if that is given."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name}: expected a whole number, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name}: expected at least {at_least}, got {value}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name}: expected at most {at_most}, got {value}")


def check_even(name: str, value) -> None:
    """Raise unless `value` is an even whole number of at least 2."""
    check_integer(name, value, at_least=1)
    if value % 2:
        raise ValueError(f"{name}: expected an even number, half of each sign, got {value}")


def check_finite(name: str, value) -> None:
    """Raise if a concrete array holds an entry that is not finite."""
    if is_concrete(value):
        bad = _num_not_finite(value)
        if bad:
            raise ValueError(f"{name}: expected finite numbers, got {bad} that are not")


def _num_not_finite(value) -> int:
    if is_spread(value):
        return int(on_its_devices(lambda value: jnp.sum(~jnp.isfinite(value)), value))
    return int(np.size(value) - np.sum(np.isfinite(np.asarray(value))))


def check_known(name: str, value) -> None:
    """Raise if JAX is tracing the value: what NumPy computes with must be known."""
    if not is_concrete(value):
        raise ValueError(f"{name}: expected a number that is known, got one that is traced; call this outside of jit")


def check_positive(name: str, value) -> None:
    """Raise if a concrete number or array is not finite, or not above 0."""
    check_finite(name, value)
    if is_concrete(value) and np.any(np.asarray(value) <= 0):
        raise ValueError(f"{name}: expected a positive number, got {value}")


def check_not_negative(name: str, value) -> None:
    """Raise if a concrete number or array is not finite, or below 0."""
    check_finite(name, value)
    if is_concrete(value) and np.any(np.asarray(value) < 0):
        raise ValueError(f"{name}: expected at least 0, got {np.min(value)}")


def check_tolerances(tolerances):
    """The tolerances as an array; raises unless they are between 0 and 1 and increase."""
    values = np.atleast_1d(np.asarray(tolerances, np.float64))
    if values.ndim != 1 or not values.size or np.any(~(values > 0) | ~(values < 1)) or np.any(np.diff(values) <= 0):
        raise ValueError(f"tolerances: expected increasing numbers between 0 and 1, got {tolerances}")
    return values


def check_momentum(momentum) -> None:
    """Raise if a concrete momentum is outside of [0, 1)."""
    check_finite("momentum", momentum)
    if is_concrete(momentum) and not 0 <= float(momentum) < 1:
        raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")


def check_scales(weight_std, bias_std) -> None:
    """Raise unless σ_w > 0 and σ_b >= 0."""
    check_positive("weight_std", weight_std)
    check_not_negative("bias_std", bias_std)


def check_shape(name: str, value, shape: tuple[int, ...]) -> None:
    """Raise unless an array has the shape."""
    if np.shape(value) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {np.shape(value)}")


def check_square(name: str, operator) -> int:
    """The number of rows; raises unless a matrix or operator has as many columns."""
    rows, columns = operator.shape
    if rows != columns:
        raise ValueError(f"{name}: expected a square one, got shape {operator.shape}")
    return rows


def check_on_sphere(name: str, x) -> None:
    """Raise unless x is (n, d) and, where it can be looked at, every row has norm √d up to rounding."""
    if np.ndim(x) != 2:
        raise ValueError(f"{name}: expected shape (n, d), got {np.shape(x)}")
    check_finite(name, x)
    if is_concrete(x):
        lengths = np.linalg.norm(np.asarray(x, np.float64), axis=1) / np.sqrt(np.shape(x)[1])
        if np.any(np.abs(lengths - 1) > 0.01):
            raise ValueError(
                f"{name}: expected rows of norm √d, as of `equal_norms`, got norms from {lengths.min():.3g} √d "
                f"to {lengths.max():.3g} √d"
            )


def check_some(name: str, x) -> None:
    """Raise unless there is at least one row."""
    if np.ndim(x) < 1 or np.shape(x)[0] < 1:
        raise ValueError(f"{name}: expected at least one sample, got shape {np.shape(x)}")


def are_equal(left, right) -> bool:
    """Whether two arrays may be: False only where they can be looked at, or have different shapes."""
    if left is right or left.shape != right.shape or is_chunks(left) or is_chunks(right):
        return left is right
    if not is_concrete((left, right)):
        return True
    if is_spread(left) or is_spread(right):
        return bool(on_its_devices(jnp.array_equal, left, right))
    return np.array_equal(left, right)


def check_may_be_symmetric(name: str, operator) -> None:
    """Raise if an operator is known not to be symmetric."""
    if not operator.symmetric:
        raise ValueError(f"{name}: expected a symmetric operator, got one that is not, as between two sets of inputs")


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


def check_kernel_new(kernel_new, p: int, n: int) -> int:
    """The number of new inputs; raises unless the kernel is (q, p), with a row for every output of each."""
    shape = np.shape(kernel_new)
    if len(shape) != 2 or shape[1] != p or shape[0] * n % p:
        raise ValueError(f"kernel_new: expected shape (q, {p}), q a multiple of {p // n}, got {shape}")
    return shape[0] * n // p


def check_start(name: str, start, shape: tuple[int, ...]) -> None:
    """Raise unless outputs at the start are one number or have the shape."""
    if np.shape(start) not in ((), shape):
        raise ValueError(f"{name}: expected a number or shape {shape}, got {np.shape(start)}")


# Beyond what rounding makes of a kernel, in the precision of its entries: √ε in float32.
_ROUNDING = {"float64": 1e-6}


def check_real(name: str, value) -> None:
    """Raise if an array holds complex numbers, traced or not."""
    if np.iscomplexobj(value):
        raise ValueError(f"{name}: expected real numbers, got complex ones, {value.dtype}")


def check_symmetric(name: str, kernel) -> None:
    """Raise unless a matrix is square and real, and where it can be looked at, finite and symmetric up to rounding."""
    check_real(name, kernel)
    if np.ndim(kernel) != 2 or np.shape(kernel)[0] != np.shape(kernel)[1] or np.shape(kernel)[0] < 1:
        raise ValueError(f"{name}: expected a square matrix, got shape {np.shape(kernel)}")
    check_finite(name, kernel)
    if is_concrete(kernel):
        entries = np.asarray(kernel, np.float64)
        gap, size = np.abs(entries - entries.T).max(), np.abs(entries).max()
        if gap > _rounding(kernel) * size:
            raise ValueError(
                f"{name}: expected a symmetric matrix, got entries that differ by {gap:.3g} from those across the "
                f"diagonal; the largest entry is {size:.3g}"
            )


def check_no_negative(name: str, kernel, eigenvalues) -> None:
    """Raise if a kernel has an eigenvalue below 0, beyond rounding, where that can be looked at."""
    if is_concrete(eigenvalues):
        low, size = float(np.min(eigenvalues)), float(np.max(np.abs(eigenvalues)))
        if low < -_rounding(kernel) * size:
            raise ValueError(
                f"{name}: expected no negative eigenvalue, got {low:.3g}; the largest in size is {size:.3g}"
            )


def check_kernel(name: str, kernel) -> None:
    """Raise unless a matrix is symmetric and, where it can be looked at, has no negative eigenvalue."""
    check_symmetric(name, kernel)
    if is_concrete(kernel):
        check_no_negative(name, kernel, np.linalg.eigvalsh(np.asarray(kernel, np.float64)))


def _rounding(kernel) -> float:
    return _ROUNDING.get(str(kernel.dtype), 3.5e-4)
