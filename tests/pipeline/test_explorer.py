"""The explorer's page: the runs that it takes out of the executed notebook, and what it puts into the page."""

import json
import re

import explorer
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sphinx.application import Sphinx

RUNS = {
    "activations": ["erf"],
    "dims": [4, 8],
    "widths": [16],
    "trained": ["both"],
    "runs": {"erf/4/16/both": {"steps": [0, 1, 2], "early": 1, "text": "</script><b>"}},
}


def notebook_with(*outputs, tag="explorer-data"):
    shown = [new_output("display_data", data) for data in outputs]
    return new_notebook(cells=[new_code_cell("1", metadata={"tags": [tag]}, outputs=shown)])


@pytest.fixture
def write_runs(tmp_path):
    def write(*outputs, **options):
        path = tmp_path / "notebooks/explorer.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook_with(*outputs, **options), path)
        return path

    return write


def build(folder, text):
    """A page of a small book with the directive alone; returns it and the warnings."""
    (folder / "index.rst").write_text(f"Title\n=====\n\n{text}\n")
    (folder / "conf.py").write_text("extensions = ['explorer']\n")
    with open(folder / "warnings", "w+") as warnings:
        app = Sphinx(folder, folder, folder / "out", folder / "doctrees", "html", status=None, warning=warnings)
        app.build()
    return (folder / "out/index.html").read_text(), (folder / "warnings").read_text()


def test_the_runs_are_those_that_the_tagged_cell_put_out(write_runs):
    data = {"application/json": RUNS, "text/html": "1 run", "text/plain": "1 run"}
    assert explorer.read_runs(write_runs(data)) == RUNS


@pytest.mark.parametrize("outputs", [[], [{"text/plain": "1"}], [{"application/json": {}}] * 2])
def test_any_other_number_of_outputs_is_refused(write_runs, outputs):
    with pytest.raises(ValueError, match="one output of JSON from the cells tagged 'explorer-data'"):
        explorer.read_runs(write_runs(*outputs))


def test_more_than_a_page_should_hold_is_refused(write_runs, monkeypatch):
    monkeypatch.setattr(explorer, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 bytes of JSON for a page, got 1[0-9][0-9]"):
        explorer.read_runs(write_runs({"application/json": RUNS}))


def test_no_text_in_the_runs_ends_the_script():
    html = explorer.runs_html(RUNS)
    found = re.search(r'<script type="application/json" id="explorer-runs">(.*?)</script>', html, re.DOTALL)
    assert json.loads(found[1]) == RUNS
    assert "<b>" not in html


def test_every_control_has_a_label_and_one_choice_is_made():
    html = explorer.runs_html(RUNS)
    fieldsets = re.findall(r"<fieldset><legend>(.*?)</legend>(.*?)</fieldset>", html)
    assert [legend for legend, _ in fieldsets] == ["Activation", "Dimension d", "Width m", "Layers that are trained"]
    assert all(inside.count(" checked>") == 1 for _, inside in fieldsets)
    assert '<label for="explorer-time">' in html and 'max="2"' in html


def test_the_page_has_the_runs_and_only_it_the_library(tmp_path, write_runs, monkeypatch):
    monkeypatch.setattr(explorer, "library", lambda: "a library")
    write_runs({"application/json": RUNS})
    page, warnings = build(tmp_path, ".. explorer:: runs\n\n.. explorer:: formula")
    assert 'id="explorer-runs"' in page and 'id="formula-text"' in page and "With JavaScript" in page
    assert re.search(r'<script defer="defer" src="_static/vega-embed.js', page)
    assert (tmp_path / "out/_static/vega-embed.js").read_text() == "a library"
    assert "vega-embed" not in (tmp_path / "out/search.html").read_text()
    assert not [line for line in warnings.splitlines() if "explorer" in line and "ipynb" not in line]


def test_a_missing_notebook_is_a_warning(tmp_path):
    page, warnings = build(tmp_path, ".. explorer:: runs")
    assert "explorer: no executed notebook explorer.ipynb" in warnings
    assert "explorer-runs" not in page and "vega-embed" not in page


def test_another_part_is_an_error(tmp_path):
    _, warnings = build(tmp_path, ".. explorer:: walks")
    assert "expected runs or formula, got 'walks'" in warnings


def test_the_notebooks_own_page_is_spared_the_json():
    source = [nbformat.writes(notebook_with({"application/json": RUNS, "text/plain": "1 run"}))]
    explorer._leave_to_the_directive(None, "notebooks/explorer", source)
    (cell,) = nbformat.reads(source[0], as_version=4).cells
    assert cell.outputs[0].data == {"text/plain": "1 run"}


def test_the_library_shares_no_name_and_is_no_module():
    script = explorer.library()
    assert script.startswith("(() => {") and script.endswith("})();\n")
    assert "window.vegaEmbed=" in script
    assert not re.search(r"(?m)^(import|export)\b", script)
