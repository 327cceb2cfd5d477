"""Running one notebook: what is refused, what is published, what stays after a failure."""

import json
from pathlib import Path

import nbformat
import pytest
from run_notebook import declared_parameters, main, run, source_notebooks

STAGED = Path("_build/smoke/stage/notebooks/part/second.ipynb")
RESULTS = Path("_build/smoke/results/part/second.json")
RECORD = Path("_build/smoke/results/part/second.run.json")


def run_second(**parameters):
    run("part/second", profile="smoke", parameters=parameters, started=0.0)


def injected_cell(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = [cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
    return cell


def test_notebooks_are_named_by_their_path(checkout, write_notebook):
    write_notebook(checkout / "notebooks/part/.ipynb_checkpoints/second.ipynb")
    assert source_notebooks() == ["first", "part/second"]


def test_unknown_parameter_is_refused_before_anything_runs(checkout, write_notebook):
    write_notebook(checkout / "notebooks/part/second.ipynb", "open('ran', 'w')")
    with pytest.raises(ValueError, match=r"unknown parameters \['widht'\].*\['results_path', 'seed'\]"):
        run_second(widht=3)
    assert not (checkout / "ran").exists()
    assert not (checkout / "_build").exists()


def test_a_run_publishes_notebook_results_and_record(checkout, write_notebook, capfd):
    record_seed = "import json\njson.dump({'claims': {'a': seed}}, open(results_path, 'w'))"
    write_notebook(checkout / "notebooks/part/second.ipynb", record_seed)
    run_second(seed=7)
    assert json.loads(RESULTS.read_text()) == {"claims": {"a": 7}}
    record = json.loads(RECORD.read_text())
    assert record["profile"] == "smoke" and record["parameters"] == {"seed": 7}
    assert record["seconds"] > 0 and record["device"] and record["versions"].keys() == {"python", "jax", "numpy"}
    assert "seed = 7" in injected_cell(STAGED).source and "remove-cell" not in injected_cell(STAGED).metadata.tags
    assert "[1/2] part/second done (elapsed" in capfd.readouterr().out


def test_defaults_leave_no_injected_cell_in_the_book_and_no_claims_are_fine(checkout):
    run_second()
    assert "remove-cell" in injected_cell(STAGED).metadata.tags
    assert json.loads(RESULTS.read_text()) == {"claims": {}}


def test_a_failure_publishes_nothing_and_keeps_the_notebook(checkout, write_notebook, capfd, monkeypatch):
    write_notebook(checkout / "notebooks/part/second.ipynb", "seed", "1 / 0")
    command = ["run_notebook.py", "part/second", "--profile", "smoke", "--parameters", "{}", "--started", "0"]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 1
    assert not STAGED.exists() and not RESULTS.exists() and not RECORD.exists()
    printed = capfd.readouterr()
    kept = Path("_build/smoke/work/part/second/second.ipynb")
    assert str(kept) in printed.out and "ZeroDivisionError" in printed.err
    outputs = nbformat.read(kept, as_version=4).cells[-1].outputs
    assert [output.ename for output in outputs] == ["ZeroDivisionError"]


@pytest.mark.parametrize("parameters", ["seed = 1 + f()", "import os", "seed: int = 0", "a = b = c"])
def test_parameters_are_literals(checkout, write_notebook, parameters):
    write_notebook(checkout / "notebooks/first.ipynb", parameters=parameters)
    with pytest.raises(ValueError, match="name = literal"):
        declared_parameters(checkout / "notebooks/first.ipynb")


def test_one_parameters_cell(checkout):
    path = checkout / "notebooks/first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="one cell tagged 'parameters', got 2"):
        declared_parameters(path)
