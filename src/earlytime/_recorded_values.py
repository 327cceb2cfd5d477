"""What a results file can hold: values per seed and the sizes that they were measured with, as plain Python."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def values_by_case(what: str, values_per_seed: Any) -> dict[str, list[float]]:
    """`values_per_seed` as {case: one number per seed}; **raises** `ValueError` unless it is that, or one per seed."""
    cases = values_per_seed if isinstance(values_per_seed, Mapping) else {"": values_per_seed}
    try:
        arrays = {str(name): np.asarray(values, dtype=np.float64) for name, values in cases.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"values_per_seed: expected numbers for {what}: {error}") from None
    if not arrays:
        raise ValueError(f"values_per_seed: expected at least one case of {what}")
    for name, values in arrays.items():
        if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
            raise ValueError(f"values_per_seed: expected one finite number per seed for {what} {name}, got {values}")
    return {name: values.tolist() for name, values in arrays.items()}


def plain(name: str, size: Any) -> Any:
    """What JSON can hold: NumPy's and JAX's numbers and arrays become Python's."""
    if isinstance(size, Mapping):
        return {str(key): plain(name, value) for key, value in size.items()}
    if isinstance(size, (list, tuple)):
        return [plain(name, value) for value in size]
    if size is None or isinstance(size, str):
        return size
    number = np.asarray(size).tolist()
    if isinstance(number, list):
        return plain(name, number)
    if not isinstance(number, (bool, int, float)) or not math.isfinite(number):
        raise ValueError(f"sizes: expected finite numbers, strings, None, lists and mappings for {name}, got {size!r}")
    return number
