"""The finished points of a sweep: one file each, written at once or not at all, and whether they are current."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from current import changed, remove
from fingerprint import digest, file_hash, notebook_fingerprint
from sweep import Point, Sweep

# What makes the numbers of a point. The table and the plots are made anew from them.
PROGRAMS = ("sweep_worker", "sweep_shell")


def folder(sweep: Sweep) -> Path:
    return Path("_build/sweeps", sweep.name)


def point_file(sweep: Sweep, name: str) -> Path:
    return folder(sweep) / "points" / f"{name}.json"


def executed_notebook(sweep: Sweep, name: str, *, failed: bool) -> Path:
    """Where the executed notebook of a point is kept, if it is."""
    return folder(sweep) / ("failed" if failed else "notebooks") / f"{name}.ipynb"


def last_words(sweep: Sweep, name: str) -> Path:
    """What a point has printed whose process was ended, past Python; it has no executed notebook."""
    return folder(sweep) / "failed" / f"{name}.txt"


def sweep_fingerprint(sweep: Sweep) -> dict[str, str]:
    """Hashes of all that the points depend on, beside their parameters, which their names are made of."""
    parts = notebook_fingerprint(sweep.notebook, "sweep", {})
    del parts["parameters"]
    return {**parts, "program that runs it": digest(*(file_hash(Path(f"pipeline/{part}.py")) for part in PROGRAMS))}


def write_point(sweep: Sweep, point: Point, content: dict[str, Any]) -> None:
    """Publish a point."""
    path = point_file(sweep, point.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps({**content, "sha256": digest(content)}, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_point(sweep: Sweep, name: str) -> dict[str, Any] | None:
    """What a point has left; None if that is nothing.

    **Raises** `ValueError` for a file that was cut short or altered.
    """
    path = point_file(sweep, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("sha256") != digest(content):
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} was cut short or altered") from None
    return content


def missing_points(sweep: Sweep, *, retry: bool = False) -> tuple[list[Point], list[str]]:
    """The points that must run, and a line for each reason why some do that ran before.

    Args:
        sweep: from `load_sweep`.
        retry: those that failed must run, too.
    """
    now, missing = sweep_fingerprint(sweep), []
    reasons: dict[str, int] = {}
    for point in sweep.points:
        try:
            there = read_point(sweep, point.name)
            parts = changed(there["fingerprint"], now) if there else ""
            reason = f"{parts} changed" if parts else "they failed" if there and there["error"] and retry else ""
        except ValueError as error:
            there, reason = None, str(error)
        if there is None or reason:
            missing.append(point)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
    return missing, [f"{reason}: {count} points again" for reason, count in reasons.items()]


def prepare(sweep: Sweep, missing: list[Point]) -> None:
    """Make the folders, and remove what points that run now have left and what a killed sweep has."""
    for name in ("points", "failed", "notebooks"):
        (folder(sweep) / name).mkdir(parents=True, exist_ok=True)
    for path in (folder(sweep) / "points").glob(".*"):
        remove(path)
    for point in missing:
        remove(point_file(sweep, point.name))
        for failed in (True, False):
            remove(executed_notebook(sweep, point.name, failed=failed))
        remove(last_words(sweep, point.name))
    remove(folder(sweep) / "work")
    (folder(sweep) / "work/claimed").mkdir(parents=True)
    names = [point.name for point in missing]
    (folder(sweep) / "work/missing.json").write_text(json.dumps([names, sweep_fingerprint(sweep)]))


def claimed(sweep: Sweep, points: list[Point]) -> Iterator[Point]:
    """One point after the other that no other worker of this sweep has taken."""
    for point in points:
        try:
            os.close(os.open(folder(sweep) / "work/claimed" / point.name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield point
