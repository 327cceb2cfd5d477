"""The table of a sweep, from results that are made up; and its notebooks' shell, beside a real kernel."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas
import pytest
import sweeps_page
from earlytime import claims
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from some_results import CLAIM
from sweep import load_sweep
from sweep_points import prepare, sweep_fingerprint, write_point
from sweep_table import COLUMNS, made_files, make_table, publish, remove_outdated
from tiny_checkout import ROOT, write

RUN = {"seconds_compiling": 0.5, "device": "cpu", "revision": "abc", "dirty": False}


@pytest.fixture
def finished(checkout, monkeypatch):
    """Returns a function that makes a sweep over the seed of which these results are there."""
    monkeypatch.setattr(claims, "load_claims", lambda: {CLAIM.id: CLAIM})
    write("notebooks/part/first.ipynb", parameters="seed = 0\nsizes = [1, 2]\nimages = 'auto'\nresults_path = ''")

    def finish(*contents, text=""):
        Path("a_sweep.yaml").write_text(f"notebook: part/first\ngrid: {{seed: {list(range(len(contents)))}}}\n{text}")
        sweep = load_sweep(Path("a_sweep.yaml"))
        prepare(sweep, sweep.points)
        for point, content in zip(sweep.points, contents, strict=True):
            facts = {"seconds": 2.0, "peak_memory": 10**8, "started": "2026-01-02T03:04:05+00:00", "error": ""}
            fingerprint = sweep_fingerprint(sweep)
            write_point(sweep, point, {**facts, "results": None, "fingerprint": fingerprint, **content})
        return sweep

    return finish


def results(claim_cases=None, measured=None):
    record = {"cases": claim_cases or {}, "sizes": {}, "reason": ""}
    return {"results": {"run": RUN, "claims": {CLAIM.id: record} if claim_cases else {}, "measured": measured or {}}}


def test_a_row_for_each_run_and_case(finished):
    table = make_table(
        finished(
            results({"erf": [-1.0, -1.2, -0.8], "ReLU": [1.0, 1.1, 1.2]}, {"gap": {"": [3.0]}}),
            {"error": "cell 3/4: ValueError: no"},
            results(),
        )
    )
    assert list(table) == [*COLUMNS[:3], "seed", "sizes", "images", *COLUMNS[3:]]
    assert table["seed"].tolist() == [0, 0, 0, 1, 2] and set(table["sizes"]) == {"[1, 2]"}
    assert table["kind"].tolist() == ["claim", "claim", "measured", "", ""]
    assert table["name"].tolist() == [CLAIM.id, CLAIM.id, "gap", "", ""]
    assert table["case"].tolist() == ["erf", "ReLU", "", "", ""]
    assert table["verdict"].tolist() == ["reproduced", "not reproduced", "", "", ""]
    assert table["num_values"].tolist() == [3, 3, 1, 0, 0]
    np.testing.assert_allclose(table["mean"], [-1.0, 1.1, 3.0, np.nan, np.nan])
    half = 4.302653 * 0.2 / np.sqrt(3)  # Student's t for two degrees of freedom
    np.testing.assert_allclose(table["low"][0], -1 - half, rtol=1e-6)
    np.testing.assert_allclose(table["high"][0], -1 + half, rtol=1e-6)
    assert table["low"].isna().tolist() == [False, False, True, True, True]
    assert table["error"].tolist() == ["", "", "", "cell 3/4: ValueError: no", ""]
    assert table["seconds_compiling"].isna().tolist() == [False, False, False, True, False]


def test_values_of_a_failed_run_are_not_shown_and_a_missing_point_is_named(finished):
    sweep = finished(results(), results())
    path = made_files(sweep).csv.parent / f"points/{sweep.points[1].name}.json"
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} is gone"):
        make_table(sweep)


def test_a_parameter_with_the_name_of_a_column_is_refused(finished):
    write("notebooks/part/first.ipynb", parameters="seed = 0\nerror = 1\nresults_path = ''")
    with pytest.raises(ValueError, match="part/first: error: expected no parameter with a column's name"):
        make_table(finished(results()))


def test_a_column_has_one_type(finished):
    sweep = finished(results(), results(), results())
    for point, images in zip(sweep.points, (1, "auto", None), strict=True):
        point.parameters["images"] = images
        point.parameters["seed"] = 0.5 if images is None else 1
    table = make_table(sweep)
    assert table["images"].tolist() == ["1", "auto", "null"] and table["seed"].tolist() == [1, 1, 0.5]


@pytest.fixture
def in_this_process(monkeypatch):
    """The summary's cells are not run here: another test does that."""
    monkeypatch.setattr("sweep_table.run_cells", lambda *_: "")
    monkeypatch.setattr("sweep_table.make_shell", lambda **_: None)


def test_parquet_and_csv_hold_the_same_and_a_summary_that_is_current_stays(finished, in_this_process):
    plot = "plots: [{x: seed, y: gap, log: xy}]"
    sweep = finished(results(measured={"gap": {"": [1.0, 2.0]}}), {"error": "no"}, text=plot)
    publish(sweep)
    made = made_files(sweep)
    assert pandas.read_parquet(made.parquet).to_csv(index=False) == made.csv.read_text()
    assert "draw(table, {'x': 'seed', 'y': 'gap', 'log': 'xy'});" in made.notebook.read_text()
    assert "1 of them failed" in made.html.read_text()
    remove_outdated(sweep, [])
    assert all(path.exists() for path in made)
    for change in (
        lambda: made.csv.write_text(made.csv.read_text()[:-5]),
        lambda: made.html.unlink(),
        lambda: made.record.write_text("{"),
        lambda: Path("a_sweep.yaml").write_text(Path("a_sweep.yaml").read_text() + "\n# edited"),
        lambda: finished(results(measured={"gap": {"": [1.5, 2.0]}}), {"error": "no"}, text=plot),
        lambda: write("notebooks/part/first.ipynb", "1", parameters="seed = 0\nresults_path = ''"),
    ):
        change()
        remove_outdated(sweep, [])
        assert not any(path.exists() for path in made)
        publish(load_sweep(Path("a_sweep.yaml")) if made.record.exists() else sweep)
    remove_outdated(sweep, sweep.points[:1])
    assert not any(path.exists() for path in made)


def test_a_summary_that_fails_publishes_no_record(finished, monkeypatch, in_this_process):
    monkeypatch.setattr("sweep_table.run_cells", lambda *_: "cell 2/2: KeyError: 'gap'")
    sweep = finished(results())
    with pytest.raises(RuntimeError, match="the summary: cell 2/2: KeyError: 'gap'"):
        publish(sweep)
    assert not made_files(sweep).record.exists() and not made_files(sweep).csv.exists()


CELLS = [
    "print('one'); import sys; print('two', file=sys.stderr); print('three')",
    "from IPython.display import display, HTML\nshown = display(HTML('<b>1</b>'), display_id=True)\n{'a': 1}",
    "shown.update(HTML('<b>2</b>'))",
    "5;",
    "x = [i for i in range(3)]\nx",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "import asyncio\nawait asyncio.sleep(0)\n_",
    "raise ValueError('on purpose,\\nin two lines')",
    "print('never')",
]
IN_A_SHELL = """
import sys
sys.path.insert(0, sys.argv[2])
import nbformat
from sweep_shell import make_shell, run_cells
notebook, told = nbformat.read(sys.argv[1], as_version=4), []
print(run_cells(make_shell(figures=True), notebook, told.append))
print(told[-1])
nbformat.write(notebook, sys.argv[1])
"""


def test_cells_put_out_what_they_put_out_in_a_kernel(tmp_path):
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    path = tmp_path / "cells.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-c", IN_A_SHELL, str(path), str(ROOT / "pipeline")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["cell 8/9: ValueError: on purpose, in two lines", "cell 8/9"]
    ours = nbformat.read(path, as_version=4).cells
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()

    def kept(cell):
        """Streams as one text each, since a kernel may mix them; of an error and a picture what does not vary."""
        streams = {}
        for output in cell.outputs:
            if output.output_type == "stream":
                streams[output.name] = streams.get(output.name, "") + output.text
        rest = [output for output in cell.outputs if output.output_type != "stream"]
        show = lambda o: sorted(o.data) if "image/png" in o.get("data", {}) else o.get("data", o.get("evalue"))
        return streams, [(output.output_type, show(output)) for output in rest]

    assert [kept(cell) for cell in ours[:-1]] == [kept(cell) for cell in notebook.cells[:-1]]
    assert not ours[-1].outputs and ours[1].outputs[0].data["text/html"] == "<b>2</b>"


EXAMPLES = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_tables_of_the_examples_are_of_their_points(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = file.relative_to(ROOT)
    table = pandas.read_csv(file.with_suffix(".csv"))
    assert not list(sweeps_page.faults(file, table))
    assert {plot["y"] for plot in load_sweep(file).plots} <= set(table["name"])
    assert f"make sweep SWEEP={file}" in sweeps_page.run_text(file, table) and not table["dirty"].any()
    assert "{sweep} " + file.stem in Path("book/sweeps.md").read_text()
    cut = table[table["point"] != table["point"][0]]
    assert "is not of the points of" in "".join(sweeps_page.faults(file, cut))
    assert "failed" in "".join(sweeps_page.faults(file, table.assign(error="no")))


def test_a_plot_has_a_text():
    plot = {"x": "dim", "y": "gap", "hue": "alpha", "col": "width", "log": "xy"}
    assert sweeps_page.alt_text(plot) == (
        "gap against dim, on logarithmic axes, a colour for each alpha, a panel for each width."
    )
    assert json.dumps(sweeps_page.alt_text({"x": "dim", "y": "gap"})) == '"gap against dim."'
