"""What a notebook says of its run: the versions, the device, how long it takes, and what it cost so far."""

import functools
import importlib.resources
import json
import platform

from earlytime import _runs
from earlytime._versions import version_of


@functools.cache
def _minutes_of_notebooks() -> dict[str, int]:
    """How long every notebook took at its own sizes, on two cores of a CPU; `pipeline/minutes.py` writes it down."""
    return json.loads((importlib.resources.files("earlytime") / "minutes.json").read_text(encoding="utf-8"))


def announce(notebook: str) -> None:
    """Print one line: versions, device, and the minutes to expect for the notebook's own parameters.

    In a notebook the line goes on, after each cell: the seed, the revision of the sources, seconds and memory so far.
    The cell's output carries all that is known of the run, with its parameters, as metadata.

    Args:
        notebook: such as "hu2020/figure_1".

    Raises:
        ValueError: a notebook that this version does not have.
    """
    minutes = _minutes_of_notebooks()
    if notebook not in minutes:
        raise ValueError(f"notebook: expected one of {sorted(minutes)}, got {notebook!r}")
    packages = ", ".join(f"{package} {version_of(package)}" for package in ("earlytime", "jax", "numpy"))
    about = minutes[notebook]
    line = (
        f"{packages}, Python {platform.python_version()}, on {_runs.device()}; with the parameters as they are this "
        f"takes about {about} minute{'s' * (about > 1)} on two cores of a CPU"
    )
    _runs.announced(notebook)
    if _runs.kernel_shell() is None:
        print(line)
        return
    from IPython.display import display

    shown = display({"text/plain": line}, raw=True, display_id=True)

    def tell_costs() -> None:
        run = _runs.current()
        if run.notebook == notebook:
            text = {"text/plain": f"{line}\n{run.cost()}"}
            shown.update(text, raw=True, metadata={"earlytime": run.facts()})

    _runs.after_each_cell(tell_costs)
