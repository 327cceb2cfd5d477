"""What a notebook says before it starts: the versions, the device, and how long it takes."""

import functools
import importlib.resources
import json
import os
import platform

import jax
from earlytime._versions import version_of


@functools.cache
def _minutes_of_notebooks() -> dict[str, int]:
    """How long every notebook took at its own sizes, on two cores of a CPU; `pipeline/minutes.py` writes it down."""
    return json.loads((importlib.resources.files("earlytime") / "minutes.json").read_text(encoding="utf-8"))


def announce(notebook: str) -> None:
    """Print one line: versions, device, and the minutes to expect for the notebook's own parameters.

    Args:
        notebook: such as "hu2020/figure_1".

    Raises:
        ValueError: a notebook that this version does not have.
    """
    minutes = _minutes_of_notebooks()
    if notebook not in minutes:
        raise ValueError(f"notebook: expected one of {sorted(minutes)}, got {notebook!r}")
    packages = ", ".join(f"{package} {version_of(package)}" for package in ("earlytime", "jax", "numpy"))
    device = jax.devices()[0]
    kind = f"{platform.machine()} CPU, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind
    about = minutes[notebook]
    print(
        f"{packages}, Python {platform.python_version()}, on {kind}; with the parameters as they are this takes "
        f"about {about} minute{'s' * (about > 1)} on two cores of a CPU"
    )
