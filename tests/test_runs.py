"""A results file says which run it is of, and holds no other."""

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import earlytime as et
import jax
import pytest
from earlytime import _runs, _versions, rules
from refusals import refused

RULES = {"seed": rules.seed, "width": rules.count(100), "results_path": rules.path}
CLAIM = "hu2020-images-cifar10"


def begin(path, seed=0, width=8):
    return et.check_parameters({"seed": seed, "width": width, "results_path": str(path)}, **RULES)


def read(path):
    return json.loads(Path(path).read_text())


def test_the_file_says_what_ran_on_what_and_what_it_cost(tmp_path):
    path = tmp_path / "results.json"
    et.announce("hu2020/moments")
    begin(path, seed=7)
    double = jax.jit(lambda x: x * 2.0 + len(str(path)))  # no cache has it
    double(1.0)
    et.record_measured("double", [2], results_path=str(path))
    run = read(path)["run"]
    assert run["notebook"] == "hu2020/moments" and run["parameters"] == {"seed": 7, "width": 8}
    assert run["versions"]["jax"] == jax.__version__ and run["versions"].keys() == {
        "python",
        "earlytime",
        "jax",
        "numpy",
    }
    assert run["programs"] == 1 and 0 < run["seconds_compiling"] < run["seconds"] < 60
    assert 10**7 < run["peak_memory"]["host"] < 10**11 and run["peak_memory"]["device"] is None
    assert json.dumps(read(path)["measured"]) == '{"double": {"": [2.0]}}'  # whole numbers, too


def test_the_revision_is_that_of_the_checkout_and_of_no_other(tmp_path, monkeypatch):
    git = lambda *arguments: subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True, capture_output=True
    ).stdout.decode()
    sources = tmp_path / "src/earlytime"
    sources.mkdir(parents=True)
    (sources / "_versions.py").touch()
    monkeypatch.setattr(_versions, "__file__", str(sources / "_versions.py"))
    unknown = _versions.revision.__wrapped__()
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert _versions.revision.__wrapped__() == (git("rev-parse", "HEAD").strip(), False) != unknown
    (tmp_path / "new").touch()
    assert _versions.revision.__wrapped__().dirty
    inside = tmp_path / "environment/lib/earlytime"
    inside.mkdir(parents=True)
    (inside / "_versions.py").touch()
    monkeypatch.setattr(_versions, "__file__", str(inside / "_versions.py"))
    assert _versions.revision.__wrapped__() == unknown


@pytest.mark.parametrize(
    "notebook, other, said",
    [
        ("hu2020/moments", {"seed": 1}, "with seed = 0"),
        ("hu2020/moments", {"width": 9}, "with width = 8"),
        ("hu2020/moments", {"seed": 2, "width": 9}, "with seed = 0, width = 8"),
        ("quickstart", {}, "of hu2020/moments"),
    ],
)
def test_another_run_is_refused_and_the_first_is_kept(tmp_path, notebook, other, said):
    path = tmp_path / "results.json"
    et.announce("hu2020/moments")
    begin(path)
    et.record_measured("gap", {"erf": [1.0, 2.0]}, results_path=str(path))
    before = path.read_text()
    et.announce(notebook)
    with refused("results_path", saying=said):
        begin(path, **other)
    assert path.read_text() == before and [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_the_same_run_again_replaces_what_it_recorded(tmp_path):
    path = tmp_path / "results.json"
    begin(path)
    et.record_measured("gap", [1.0], results_path=str(path))
    et.record_not_run(CLAIM, "no data here", results_path=str(path))
    begin(path)
    assert read(path)["measured"] == read(path)["claims"] == {}


def test_results_without_a_run_are_not_written_over(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"claims": {"a": 1}}')
    with refused("results_path", saying="do not say of which run"):
        begin(path)
    with refused("results_path", saying="do not say of which run"):
        et.record_not_run(CLAIM, "no data here", results_path=str(path))
    assert path.read_text() == '{"claims": {"a": 1}}'


def _record_many(path, first, both):
    begin(path)
    both.wait(timeout=60)
    for index in range(first, first + 40):
        et.record_measured(f"value {index}", [float(index)], results_path=str(path))


def test_two_writers_of_the_same_run_lose_nothing(tmp_path):
    path = tmp_path / "results.json"
    spawn = multiprocessing.get_context("spawn")
    both = spawn.Barrier(2)
    writers = [spawn.Process(target=_record_many, args=(path, first, both)) for first in (0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert read(path)["measured"] == {f"value {index}": {"": [float(index)]} for index in range(80)}


def test_after_each_cell_the_file_of_the_current_run_alone_has_the_costs(tmp_path, monkeypatch):
    events = []
    shell = SimpleNamespace(kernel=None, events=SimpleNamespace(register=lambda *event: events.append(event)))
    monkeypatch.setattr(_runs, "kernel_shell", lambda: shell)
    monkeypatch.setattr(_runs, "_after_each_cell", [])
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    begin(first)
    ((event, after_cell),) = events
    before = read(first)
    time.sleep(0.01)
    after_cell()
    after = read(first)
    assert event == "post_run_cell" and after["run"]["seconds"] > before["run"]["seconds"]
    assert after["claims"] == {} and after["run"].keys() == before["run"].keys()
    begin(second)
    ended, begun = read(first), read(second)
    time.sleep(0.01)
    after_cell()
    assert len(events) == 1 and read(first) == ended and read(second)["run"]["seconds"] > begun["run"]["seconds"]
    forgotten = _runs._after_each_cell[:]
    _runs.begin({})
    forgotten[0]()  # of a run that is over
    assert read(second)["run"]["parameters"] == {"seed": 0, "width": 8}


@pytest.mark.parametrize(
    "argument, name, values",
    [("name", "", [1.0]), ("values_per_seed", "gap", [float("nan")]), ("values_per_seed", "gap", {})],
)
def test_bad_measurements_are_refused_and_leave_nothing(tmp_path, argument, name, values):
    with refused(argument):
        et.record_measured(name, values, results_path=str(tmp_path / "results.json"))
    assert not list(tmp_path.iterdir())


def test_a_notebook_s_refusal_is_one_line():
    code = (
        "import earlytime as et\nfrom earlytime import rules\net.check_parameters({'width': 0}, width=rules.count(8))"
    )
    shell = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance().run_cell({!r})"
    done = subprocess.run([sys.executable, "-c", shell.format(code)], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip() == "ParameterError: width: expected a whole number from 1 to 8, got 0" and not done.stderr
    )


def test_facts_are_plain():
    facts = _runs.current().facts()
    assert json.loads(json.dumps(facts)) == facts
