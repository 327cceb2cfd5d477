"""Sphinx extension: the directive `{run-status}` lists how the notebooks ran, and what that cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results import Results, TextDirective, notebook_link, table


def status_text(results: Results, source: Path) -> str:
    """A table per machine, profile and versions: a row per notebook, what it cost and when."""
    groups: dict[str, dict[str, dict]] = {}
    for name, run in results.runs.items():
        where = f"Profile `{run['profile']}`, on {run['device']}, with {versions_text(run)}:"
        groups.setdefault(where, {})[name] = run
    return "\n\n".join(f"{where}\n\n{runs_table(runs, source)}" for where, runs in groups.items())


def versions_text(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{package} {version}" for package, version in run["versions"].items())


def runs_table(runs: Mapping[str, dict], source: Path) -> str:
    rows = [
        [
            notebook_link(name, source),
            *costs_text(run),
            memory_text(run["peak_memory"]),
            run["finished"].replace("T", " ").replace("+00:00", " UTC"),
        ]
        for name, run in runs.items()
    ]
    parts = ("seconds", "seconds_compiling", "programs", "from_cache")
    total = {part: sum(run[part] for run in runs.values()) for part in parts}
    header = ["notebook", "time", "compiling", "programs compiled", "peak memory", "finished"]
    return table(header, [*rows, ["all", *costs_text(total), "", ""]])


def costs_text(run: Mapping[str, Any]) -> list[str]:
    """Seconds in all, seconds of these in the compiler, and programs; those that were read were compiled before."""
    read = f" ({run['from_cache']} read)" if run["from_cache"] else ""
    compiled = f"{run['programs'] - run['from_cache']}{read}"
    return [f"{run['seconds']:.0f} s", f"{run['seconds_compiling']:.0f} s", compiled]


def memory_text(peak: Mapping[str, int | None]) -> str:
    """The most that a run had of the machine's memory, and of the GPU's."""
    host, device = peak["host"] or 0, peak["device"]
    return f"{host / 1e9:.1f} GB" + ("" if device is None else f", GPU {device / 1e9:.1f} GB")


class StatusDirective(TextDirective):
    make_text = status_text


def setup(app):
    app.add_directive("run-status", StatusDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
