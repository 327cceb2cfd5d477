"""What a sweep measured as one table, and a notebook with its plots."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from current import changed, remove
from fingerprint import digest, file_hash
from job import run_job
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sweep import Point, Sweep, load_sweep
from sweep_points import folder, point_file, read_point, sweep_fingerprint
from sweep_shell import make_shell, run_cells

RUN = ("seconds", "seconds_compiling", "peak_memory", "device", "revision", "dirty", "started", "error")
COLUMNS = ("point", "notebook", "repeat", "kind", "name", "case", "mean", "low", "high", "num_values", "verdict", *RUN)
TYPES = {"mean": float, "low": float, "high": float, "seconds": float, "seconds_compiling": float, "dirty": "boolean"}
TYPES |= {"num_values": "Int64", "peak_memory": "Int64"}


class Made(NamedTuple):
    """The files that are made of the points; the record is the last to be written."""

    csv: Path
    parquet: Path
    notebook: Path
    html: Path
    record: Path


def made_files(sweep: Sweep) -> Made:
    names = ("table.csv", "table.parquet", "summary.ipynb", "summary.html", "sweep.json")
    return Made._make(folder(sweep) / name for name in names)


def made_of(sweep: Sweep) -> dict[str, str]:
    """Hashes of all that the table and the summary are made of."""
    points = [(point.name, point.repeat) for point in sweep.points]
    hashes = [file_hash(path) if (path := point_file(sweep, name)).exists() else "" for name, _ in points]
    programs = [file_hash(Path(f"pipeline/{name}.py")) for name in ("sweep_table", "sweep_plots")]
    return {
        "sweep": digest(file_hash(sweep.file), points),
        "points": digest(hashes),
        "program": digest(programs, sweep_fingerprint(sweep)),
    }


def remove_outdated(sweep: Sweep, missing: list[Point]) -> None:
    """Remove what the summary has made, unless it is of the points that are there now."""
    made = made_files(sweep)
    try:
        said = json.loads(made.record.read_text())
        whole = {path.name: file_hash(path) for path in made[:-1]} == said["sha256"]
        current = not missing and whole and not changed(said["fingerprint"], made_of(sweep))
    except (OSError, ValueError, KeyError, TypeError):
        current = False
    if not current:
        for path in reversed(made):
            remove(path)


def rows_of(sweep: Sweep, point: Point, content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each case that a point measured; one without a name where it measured nothing, or failed."""
    from earlytime import claims
    from earlytime.statistics import confidence_interval

    results = content["results"] or {}
    run = results.get("run") or {}
    common = {
        "point": point.name,
        "notebook": sweep.notebook,
        "repeat": point.repeat,
        **{name: _cell(value) for name, value in point.parameters.items()},
        **{name: run.get(name) for name in ("seconds_compiling", "device", "revision", "dirty")},
        **{name: content[name] for name in ("seconds", "peak_memory", "started", "error")},
    }
    known = claims.load_claims()
    verdicts = {
        (name, case): found.verdict
        for name, record in results.get("claims", {}).items()
        for case, found in claims.judge(known[name], record).cases.items()
    }
    measured = {("claim", name): record["cases"] for name, record in results.get("claims", {}).items()}
    measured |= {("measured", name): cases for name, cases in results.get("measured", {}).items()}
    found = False
    for (kind, name), cases in measured.items():
        for case, values in cases.items():
            low, high = confidence_interval(values) if len(values) > 1 else (None, None)
            mean, verdict = sum(values) / len(values), verdicts.get((name, case), "") if kind == "claim" else ""
            found = True
            yield common | {
                "kind": kind,
                "name": name,
                "case": case,
                "mean": mean,
                "low": low,
                "high": high,
                "num_values": len(values),
                "verdict": verdict,
            }
    if not found:
        yield common | {"kind": "", "name": "", "case": "", "num_values": 0, "verdict": ""}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def make_table(sweep: Sweep):
    """The table, a pandas DataFrame: a row per point and case, the parameters as columns.

    **Raises** `ValueError` for a parameter with the name of another column, and where a point is not there.
    """
    import pandas

    parameters = list(sweep.points[0].parameters)
    if taken := sorted(set(parameters) & set(COLUMNS)):
        raise ValueError(f"{sweep.notebook}: {', '.join(taken)}: expected no parameter with a column's name")
    rows: list[dict[str, Any]] = []
    for point in sweep.points:
        content = read_point(sweep, point.name)
        if content is None:
            raise ValueError(f"{point_file(sweep, point.name)} is gone; start the sweep again")
        rows += rows_of(sweep, point, content)
    columns = [*COLUMNS[:3], *parameters, *COLUMNS[3:]]
    table = pandas.DataFrame(rows, columns=columns).astype(TYPES)
    for name in parameters:  # a column has one type
        kinds = {type(value) for value in table[name]}
        if len(kinds) > 1 and not kinds <= {int, float}:
            table[name] = [value if isinstance(value, str) else json.dumps(value) for value in table[name]]
    return table


def summary(sweep: Sweep, failed: int) -> nbformat.NotebookNode:
    """The notebook with the plots, not yet run."""
    rest = f", {failed} of them failed" if failed else ""
    text = f"# {sweep.name}\n\n{len(sweep.points)} runs of the notebook `{sweep.notebook}`{rest}."
    code = "import sys\n\nsys.path.insert(0, '../../../pipeline')\nimport pandas\nfrom sweep_plots import draw\n\n"
    code += "%matplotlib inline\n%config InlineBackend.figure_formats = ['svg']\n"
    code += "table = pandas.read_parquet('table.parquet')\n"
    code += "varied = [name for name in table if table[name].nunique() > 1]\ntable[varied].describe(include='all')"
    cells = [new_markdown_cell(text), new_code_cell(code)]
    cells += [new_code_cell(f"draw(table, {plot!r});") for plot in sweep.plots]
    if failed:
        show = "table.loc[table['error'] != '', [*(set(varied) - {'point'}), 'error']].drop_duplicates()"
        cells += [new_markdown_cell("## Runs that failed"), new_code_cell(show)]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def publish(sweep: Sweep) -> None:
    """Make all files beside, and move them into place; **raises** as `make_table` does."""
    from nbconvert import HTMLExporter

    made, fingerprint, table = made_files(sweep), made_of(sweep), make_table(sweep)
    beside = Made._make(folder(sweep) / "work" / path.name for path in made)
    table.to_csv(beside.csv, index=False)
    table.to_parquet(beside.parquet, index=False)
    failed = table.loc[table["error"] != "", "point"].nunique()
    notebook = summary(sweep, failed)
    os.replace(beside.parquet, made.parquet)  # the notebook reads it
    with contextlib.chdir(folder(sweep)):
        error = run_cells(make_shell(figures=True), notebook, lambda at: None)
    if error:
        raise RuntimeError(f"the summary: {error}")
    nbformat.write(notebook, beside.notebook)
    html, _ = HTMLExporter(require_js_url="", mathjax_url="").from_notebook_node(notebook)
    beside.html.write_text(html, encoding="utf-8")
    for kind in ("csv", "notebook", "html"):
        os.replace(getattr(beside, kind), getattr(made, kind))
    hashes = {path.name: file_hash(path) for path in made[:-1]}
    beside.record.write_text(json.dumps({"fingerprint": fingerprint, "sha256": hashes}, indent=1) + "\n")
    os.replace(beside.record, made.record)
    failures = f", {failed} of them failed" if failed else ""
    print(f"{sweep.name}: {len(sweep.points)} points{failures}, {len(table)} rows: {made.csv}, {made.html}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    arguments = parser.parse_args()
    return run_job(lambda: publish(load_sweep(arguments.file)), parent=arguments.parent)


if __name__ == "__main__":
    sys.exit(main())
