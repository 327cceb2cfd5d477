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


def on(devices, monkeypatch):
    """As if JAX had these devices, each with its `memory_stats`."""
    devices = [SimpleNamespace(device_kind="a GPU", memory_stats=lambda stats=stats: stats) for stats in devices]
    monkeypatch.setattr(jax, "devices", lambda: devices)


def test_costs_are_what_came_after_the_beginning_to_a_millisecond(monkeypatch):
    on([{"peak_bytes_in_use": 7}, {"peak_bytes_in_use": 8}, None], monkeypatch)
    monkeypatch.setattr(_runs.time, "monotonic", lambda: 31.23456)
    so_far = {"seconds_compiling": 3.45678, "programs": 9, "from_cache": 5}
    monkeypatch.setattr(_runs, "compiled_so_far", lambda: so_far)
    before = {"seconds_compiling": 1.0, "programs": 2, "from_cache": 4}
    facts = _runs.Run("explorer", {}, _clock=10.0, _before=before).facts()
    assert (facts["seconds"], facts["seconds_compiling"]) == (21.235, 2.457)
    assert (facts["programs"], facts["from_cache"]) == (7, 1)
    assert facts["peak_memory"]["device"] == 7


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_memory_is_in_bytes_where_the_system_counts_it_otherwise(platform, unit, monkeypatch):
    resource = SimpleNamespace(RUSAGE_SELF=None, getrusage=lambda _: SimpleNamespace(ru_maxrss=3_000_000))
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(_runs.sys, "platform", platform)
    assert _runs._peak_memory() == {"host": 3_000_000 * unit, "device": None}
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _runs._peak_memory()["host"] is None


@pytest.mark.parametrize(
    ("parameters", "changes", "line"),
    [
        ({"seed": 3}, {}, "seed 3, revision 0123456789, 12 s, 3 s of them compiling, 2.5 GB of host memory"),
        ({}, {"revision": None}, "12 s, 3 s of them compiling, 2.5 GB of host memory"),
        (None, {"dirty": True, "peak_memory": {"host": None, "device": 4e10}},
         "revision 0123456789 with changes, 12 s, 3 s of them compiling, 40.0 GB of device memory"),
    ],
)  # fmt: skip
def test_what_a_run_cost_is_one_line(parameters, changes, line, monkeypatch):
    facts = {"revision": "0123456789abcdef", "dirty": False, "seconds": 12.3, "seconds_compiling": 3.2}
    facts |= {"peak_memory": {"host": 2.5e9, "device": None}, **changes}
    monkeypatch.setattr(_runs.Run, "facts", lambda run: facts)
    assert _runs.Run("explorer", parameters).cost() == line


def test_a_function_that_is_told_takes_the_place_of_its_namesake_alone(monkeypatch):
    registered, told = [], []
    shell = SimpleNamespace(events=SimpleNamespace(register=lambda _, call: registered.append(call)))
    monkeypatch.setattr(_runs, "kernel_shell", lambda: shell)
    monkeypatch.setattr(_runs, "_after_each_cell", [])

    def teller(name, what):
        tell = lambda: told.append(what)
        tell.__name__ = name
        return tell

    for name, what in (("costs", "old"), ("other", "other"), ("costs", "new")):
        _runs.after_each_cell(teller(name, what))
    (after_cell,) = registered
    after_cell()
    assert told == ["other", "new"]


def test_only_a_kernel_s_shell_is_one(monkeypatch):
    kernel, terminal = SimpleNamespace(kernel=object()), SimpleNamespace()
    for shell, found in ((kernel, kernel), (terminal, None), (None, None)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert _runs.kernel_shell() is found
    monkeypatch.delitem(sys.modules, "IPython")
    assert _runs.kernel_shell() is None


def test_compiling_is_counted_from_nothing_on(monkeypatch):
    listeners = {}
    monitoring = SimpleNamespace(
        register_event_duration_secs_listener=lambda listener: listeners.update(seconds=listener),
        register_event_listener=lambda listener: listeners.update(event=listener),
    )
    monkeypatch.setattr(jax, "monitoring", monitoring)
    counted = _runs.compiled_so_far.__wrapped__()
    assert counted == {"seconds_compiling": 0.0, "programs": 0, "from_cache": 0}
    for event, seconds in (("/jax/core/compile/backend_compile_duration", 1.5), ("/jax/another_duration", 8.0)):
        listeners["seconds"](event, seconds)
    for event in ("/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"):
        listeners["event"](event)
    assert counted == {"seconds_compiling": 1.5, "programs": 1, "from_cache": 1}


def test_facts_are_plain():
    facts = _runs.current().facts()
    assert json.loads(json.dumps(facts)) == facts
