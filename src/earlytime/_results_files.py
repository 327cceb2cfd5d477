"""A results file: what one run recorded, and which run it was."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from earlytime import _runs

KINDS = ("claims", "measured")


def start(results_path: str) -> None:
    """Start the file of the current run; what another process recorded of the same run goes.

    Raises:
        ValueError: the file holds the results of another run.
        ValueError, KeyError, TypeError, AttributeError: it does not hold results.
        OSError: it cannot be written.
    """
    path, run = Path(results_path), _runs.current()
    with _locked(path):
        _of_this_run(path)
        _replace(path, run.recorded.get(str(path.absolute()), {}))

    def write_costs() -> None:
        if _runs.current() is run:
            add({}, results_path)

    _runs.after_each_cell(write_costs)


def add(records: Mapping[str, Mapping[str, Any]], results_path: str) -> None:
    """Add `{kind: {name: record}}` to the file, with what the run cost so far.

    Where the same run is running twice, each adds what it recorded itself.

    Raises:
        as `start`.
    """
    path = Path(results_path)
    recorded = _runs.current().recorded.setdefault(str(path.absolute()), {})
    for kind, named in records.items():
        recorded.setdefault(kind, {}).update(named)
    with _locked(path):
        there = _of_this_run(path)
        _replace(path, {kind: {**there.get(kind, {}), **recorded.get(kind, {})} for kind in KINDS})


def _of_this_run(path: Path) -> dict[str, Any]:
    """What the file holds, if it is there."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    there, here = content.get("run"), _runs.current()
    if there is None and content["claims"]:
        raise ValueError(f"results_path: {path} holds results that do not say of which run: expected a new file")
    if there and (there["notebook"], there["parameters"]) != (here.notebook, here.parameters):
        raise ValueError(f"results_path: {path} holds another run, {_differences(there, here)}: expected a new file")
    return content


def _differences(there: Mapping[str, Any], here: _runs.Run) -> str:
    if there["notebook"] != here.notebook:
        return f"of {there['notebook'] or 'no notebook'}"
    theirs, ours = there["parameters"] or {}, here.parameters or {}
    other = [f"{name} = {theirs.get(name)!r}" for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return f"with {', '.join(other[:3])}{' and more' * (len(other) > 3)}"


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    """Never a half-written file."""
    whole = {"run": _runs.current().facts(), **{kind: content.get(kind, {}) for kind in KINDS}}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time changes the files of a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
