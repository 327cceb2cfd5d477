"""Running one notebook: what is refused, what is published, what stays after a failure."""

import json
import os
import time
from pathlib import Path

import nbformat
import pytest
from fingerprint import source_notebooks
from run_notebook import check_values, declared_parameters, main, run
from tiny_checkout import say, write

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
    assert source_notebooks() == ["first", "part/second", "part/third"]


def test_a_wrong_parameter_is_refused_before_anything_runs(checkout, write_notebook):
    write_notebook(checkout / "notebooks/part/second.ipynb", "open('ran', 'w')")
    with pytest.raises(ValueError, match=r"^notebooks/part/second.ipynb: sead: .*did you mean seed") as refused:
        run_second(sead=3)
    assert "\n" not in str(refused.value)
    assert not (checkout / "ran").exists()
    assert not (checkout / "_build").exists()


def test_values_are_checked_by_the_notebook_s_own_rules(checkout):
    source = Path("notebooks/first.ipynb")
    check_values(source, {})
    check_values(source, {"seed": 2**32 - 1, "results_path": "nowhere/results.json"})
    assert not Path("nowhere").exists()
    for seed in (2**32, -1, 1.0, "1", True, None, [1]):
        with pytest.raises(ValueError, match=r"^notebooks/first.ipynb: seed: expected a whole number"):
            check_values(source, {"seed": seed})


def test_rules_see_the_parameters_and_nothing_else_is_executed(checkout, monkeypatch):
    check = "from earlytime import rules\nopen('ran', 'w')\nrun_with = et.check_parameters(\n"
    check += "    globals(), seed=rules.count(most), most=rules.count(9), results_path=rules.path)"
    monkeypatch.setattr("tiny_checkout.CHECK", check)
    write("notebooks/first.ipynb", "%pip install nothing", parameters="seed = 3\nmost = 3\nresults_path = ''")
    check_values(Path("notebooks/first.ipynb"), {})
    with pytest.raises(ValueError, match="seed: expected a whole number from 1 to 2, got 3"):
        check_values(Path("notebooks/first.ipynb"), {"most": 2})
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "cell, found",
    [
        ("", r"`from earlytime import rules`, got 0"),
        ("from earlytime import rules", r"`et.check_parameters\(globals\(\), ...\)`, got 0"),
        ("from earlytime import rules\net.check_parameters(globals())\net.check_parameters(globals())", r"\)`, got 2"),
        ("from earlytime import rules\nfrom earlytime import rules\net.check_parameters(globals())", r"rules`, got 2"),
    ],
)
def test_a_notebook_checks_its_parameters_once(checkout, monkeypatch, cell, found):
    monkeypatch.setattr("tiny_checkout.CHECK", cell)
    write("notebooks/first.ipynb")
    with pytest.raises(ValueError, match="expected one statement .*" + found):
        check_values(Path("notebooks/first.ipynb"), {})


def test_a_rule_that_does_not_exist_names_the_notebook(checkout, monkeypatch):
    monkeypatch.setattr(
        "tiny_checkout.CHECK", "from earlytime import rules\net.check_parameters(globals(), seed=rules.sead)"
    )
    write("notebooks/first.ipynb")
    with pytest.raises(ValueError, match="^notebooks/first.ipynb: .*sead"):
        check_values(Path("notebooks/first.ipynb"), {})


def test_a_file_that_is_no_notebook_is_named(checkout):
    Path("notebooks/first.ipynb").write_text("{")
    with pytest.raises(ValueError, match="^notebooks/first.ipynb: cannot be read as a notebook"):
        check_values(Path("notebooks/first.ipynb"), {})


def test_a_run_publishes_notebook_results_and_record(checkout, write_notebook, capfd):
    write_notebook(checkout / "notebooks/part/second.ipynb", say("a"))
    run_second(seed=7)
    assert json.loads(RESULTS.read_text())["claims"] == {"a": 7}
    record = json.loads(RECORD.read_text())
    assert record["profile"] == "smoke" and record["parameters"] == {"seed": 7}
    assert record["seconds"] > 0
    run_there = json.loads(RESULTS.read_text())["run"]
    assert run_there.keys() <= record.keys() and {name: record[name] for name in run_there} == run_there
    assert "seed = 7" in injected_cell(STAGED).source and "remove-cell" not in injected_cell(STAGED).metadata.tags
    assert "[1/3] part/second done (elapsed" in capfd.readouterr().out


def test_defaults_leave_no_injected_cell_in_the_book_and_no_claims_are_fine(checkout):
    write("notebooks/part/second.ipynb", "seed")
    run_second()
    assert "remove-cell" in injected_cell(STAGED).metadata.tags
    assert json.loads(RESULTS.read_text())["claims"] == {}


@pytest.mark.parametrize("hang", ["__import__('time').sleep(600)", "sum(range(10**11))"])  # asleep, and deaf
def test_a_cell_that_hangs_is_stopped_and_named(checkout, write_notebook, capfd, hang):
    Path("pipeline/profiles/smoke.yaml").write_text("minutes_per_cell: 0.05\n")
    write_notebook(checkout / "notebooks/part/second.ipynb", "seed", hang)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"ipynb: cell 6/6, .* took longer than 0.05 minutes, .* smoke$") as stopped:
        run_second()
    assert hang[:10] in str(stopped.value)
    assert time.monotonic() - start < 30
    assert not RESULTS.exists() and "stopped; it stays in" in capfd.readouterr().out


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", ".inf", "true"])
def test_a_limit_that_is_none_is_refused(checkout, minutes):
    Path("pipeline/profiles/smoke.yaml").write_text(f"minutes_per_cell: {minutes}\n")
    with pytest.raises(ValueError, match=r"smoke.yaml: minutes_per_cell: expected a positive number"):
        run_second()


def test_a_failure_publishes_nothing_and_keeps_the_notebook(checkout, write_notebook, capfd, monkeypatch):
    write_notebook(checkout / "notebooks/part/second.ipynb", "seed", "1 / 0")
    command = ["run_notebook.py", "part/second", "--profile", "smoke", "--parameters", "{}", "--started", "0"]
    command += ["--parent", str(os.getppid())]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 1
    assert not STAGED.exists() and not RESULTS.exists() and not RECORD.exists()
    printed = capfd.readouterr()
    kept = Path("_build/smoke/work/part/second/second.ipynb")
    assert str(kept) in printed.out and "ZeroDivisionError" in printed.err
    outputs = nbformat.read(kept, as_version=4).cells[-1].outputs
    assert [output.ename for output in outputs] == ["ZeroDivisionError"]


@pytest.mark.parametrize("parameters", ["seed = 1 + f()", "import os", "seed: int = 0", "a = b = c", "seed ="])
def test_parameters_are_literals(checkout, write_notebook, parameters):
    write_notebook(checkout / "notebooks/first.ipynb", parameters=parameters)
    with pytest.raises(ValueError, match="name = literal"):
        declared_parameters(checkout / "notebooks/first.ipynb")


def test_one_parameters_cell(checkout):
    path = checkout / "notebooks/first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="one cell tagged 'parameters', got 2"):
        declared_parameters(path)
