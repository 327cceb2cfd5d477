"""What a notebook checks before it computes: its parameters and JAX's precision."""

import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from earlytime._validation import check_integer
from earlytime.activations import resolve_activation
from earlytime.claims import prepare_results
from earlytime.losses import resolve_loss

_AT_LEAST_ONE = (
    "dim",
    "depth",
    "channels",
    "filter_size",
    "num_samples",
    "num_test",
    "num_steps",
    "num_records",
    "num_seeds",
    "seeds_at_once",
    "block_size",
    "num_matvecs",
    "num_matvecs_deep",
    "num_rounds",
    "num_points",
    "num_pairs",
    "dim_large",
    "dim_trained",
    "bottleneck",
    "batch_size",
    "num_blocks",
    "num_networks",
    "networks_at_once",
    "num_samples_last",
    "num_samples_looks",
    "num_samples_variants",
    "num_seeds_looks",
    "num_seeds_global",
    "num_steps_far",
    "max_parameters",
    "width_last",
    "width_linear",
)
_PLURALS = {
    "dims": "dim",
    "wide_dims": "dim",
    "kernel_dims": "dim",
    "widths": "width",
    "depths": "depth",
    "filter_sizes": "filter_size",
    "activations": "activation",
    "sample_sizes": "num_samples",
    "deep_widths": "width",
    "channel_sizes": "channels",
    "radii": "radius",
    "output_scales": "output_scale",
    "losses": "loss",
}
_PRECISIONS = ("float32", "float64")


def check_parameters(namespace: Mapping[str, Any], *names: str) -> None:
    """Refuse parameters that a notebook did not declare, and values that cannot be right.

    Call it in the first cell after the parameters, before anything else has a name. It also starts the file
    at `results_path`, if one is given.

    Args:
        namespace: the notebook's `globals()`.
        names: the parameters that the notebook declares.

    Raises:
        ValueError: a name in the namespace that is a plain value and was not declared, a declared
            one that is missing, or a value that is wrong, naming the parameter.

    Example:
        >>> check_parameters({"seed": 0, "width": 255}, "seed", "width")
        Traceback (most recent call last):
        ...
        ValueError: width: expected an even number, got 255
    """
    plain = (bool, int, float, str, list, dict, types.NoneType)
    given = {
        name
        for name, value in namespace.items()
        if isinstance(value, plain) and not name.startswith("_") and name not in ("In", "Out")
    }
    known = ", ".join(sorted(names))
    for name in sorted(given - set(names)):
        raise ValueError(f"{name}: this notebook has no such parameter; it has {known}")
    for name in names:
        if name not in namespace:
            raise ValueError(f"{name}: declared, but not given a value")
        _check_value(name, namespace[name])
    if "results_path" in names:
        prepare_results(namespace["results_path"])


def _check_value(name: str, value) -> None:
    if name in _PLURALS:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{name}: expected a list that is not empty, got {value!r}")
        for entry in value:
            try:
                _check_value(_PLURALS[name], entry)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    elif name == "seed":
        check_integer(name, value, at_least=0)
    elif name in _AT_LEAST_ONE:
        check_integer(name, value, at_least=1)
    elif name == "width":
        check_integer(name, value, at_least=2)
        if value % 2:
            raise ValueError(f"width: expected an even number, got {value}")
    elif name.startswith("learning_rate") or name in ("radius", "output_scale"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < np.inf:
            raise ValueError(f"{name}: expected a positive number, got {value!r}")
    elif name == "activation":
        resolve_activation(value)
    elif name == "loss":
        resolve_loss(value)
    elif name == "momentum":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {value!r}")
    elif name == "rates":
        _check_increasing(name, value)
    elif name == "precision" and value not in _PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(_PRECISIONS)}, got {value!r}")
    elif name == "results_path" and not isinstance(value, str):
        raise ValueError(f"results_path: expected a path as a string, '' for none, got {value!r}")


def _check_increasing(name: str, value) -> None:
    numbers = isinstance(value, list) and all(isinstance(entry, (int, float)) for entry in value)
    if not numbers or not value or not np.all(np.isfinite(value)) or np.any(np.diff(value, prepend=0.0) <= 0):
        raise ValueError(f"{name}: expected a list of increasing numbers > 0, got {value!r}")


def use_precision(precision: str) -> None:
    """Make JAX compute in "float32" or "float64"; call it before any array exists.

    Products of float32 matrices are then float32, too, where a GPU would round them to fewer bits.

    Raises:
        ValueError: unknown precision.
        RuntimeError: arrays of the other precision exist already.
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(_PRECISIONS)}, got {precision!r}")
    wanted = precision == "float64"
    if jax.config.jax_enable_x64 != wanted and jax.live_arrays():
        raise RuntimeError("use_precision: arrays exist already; call it first, in a fresh process")
    jax.config.update("jax_enable_x64", wanted)
    jax.config.update("jax_default_matmul_precision", "float32")
