"""Sweeps that run: what one run does to the next, what fails, what hangs, and what is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import psutil
import pytest
from papermill.execute import execute_notebook
from sweep_kills import KINDS, TINY, check_table, killed_sweep
from tiny_checkout import ROOT, output_of, write

RECORD = "et.record_measured('twice the seed', [2.0 * seed], results_path=results_path)"
NOBODY = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def sweep_of(*cells, text="grid: {seed: [1, 2, 3]}", **kwargs):
    """Write a notebook and a sweep of it."""
    if cells:
        write("notebooks/first.ipynb", *cells)
    Path("a_sweep.yaml").write_text(f"notebook: first\n{text}\n")


def start(file="a_sweep.yaml", **kwargs):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", "pipeline/sweep.smk"]
    kwargs = {"env": NOBODY, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **kwargs}
    return subprocess.Popen([*command, "--config", f"sweep={file}"], **kwargs)


def run():
    """Returns the table and what was printed."""
    code, printed = output_of(start())
    assert code == 0, printed
    return pandas.read_parquet("_build/sweeps/a_sweep/table.parquet"), printed


def ran():
    """How often the notebook came to its last cell, by its seed."""
    lines = Path("ran").read_text().split()
    return {int(seed): lines.count(seed) for seed in lines}


COUNT = "print(seed, file=open('ran', 'a'))"


@pytest.mark.slow
def test_a_sweep_and_what_is_added_to_it(checkout):
    sweep_of(RECORD, COUNT, text="grid: {seed: [1, 2, 3]}\nplots: [{x: seed, y: twice the seed}]")
    table, printed = run()
    assert table["seed"].tolist() == [1, 2, 3] and table["mean"].tolist() == [2, 4, 6] and ran() == {1: 1, 2: 1, 3: 1}
    assert table["revision"].str.len().tolist() == [40] * 3 and (table["peak_memory"] > 10**7).all()
    assert "3 points, 3 to run" in printed and "a_sweep: 3 points, 3 rows" in printed
    summary = Path("_build/sweeps/a_sweep/summary.ipynb").read_text()
    assert "<svg" in summary and "image/svg" in Path("_build/sweeps/a_sweep/summary.html").read_text()
    changed = lambda: {path: path.stat().st_mtime_ns for path in Path("_build/sweeps/a_sweep").glob("[!w]*/*.*")}
    before = changed()
    _, printed = run()
    assert "3 points, 0 to run" in printed and "rows" not in printed
    assert changed() == before and len(before) == 3
    sweep_of(text="grid: {seed: [2, 3, 4]}\nrepeats: 2")
    table, printed = run()
    assert "6 points, 4 to run" in printed
    assert ran() == {1: 1, 2: 1, 3: 1, 4: 1, 1_000_002: 1, 1_000_003: 1, 1_000_004: 1}
    assert table["mean"].tolist() == [2.0 * seed for s in (2, 3, 4) for seed in (s, s + 1_000_000)]
    assert table["repeat"].tolist() == [0, 1] * 3
    write("notebooks/first.ipynb", RECORD, "3 * seed", COUNT)
    _, printed = run()
    assert "the source changed: 6 points again" in printed and set(ran().values()) == {1, 2}


FAILS = """import os, signal, time, ctypes
if seed == 2:
    raise ValueError("on purpose,\\nin two lines")
if seed == 3:
    time.sleep(600)
if seed == 4:
    os.kill(os.getpid(), signal.SIGSEGV)
if seed == 5:
    ctypes.CDLL(None).sleep(600)
if seed == 6:
    raise SystemExit
if seed == 7:
    os._exit(3)"""


@pytest.mark.slow
def test_a_run_that_fails_hangs_or_dies_is_a_row_with_its_error_and_the_others_go_on(checkout):
    sweep_of(RECORD, FAILS, COUNT, text="grid: {seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}\nlimit: 4")
    table, printed = run()
    errors = dict(zip(table["seed"], table["error"], strict=True))
    limit = "cell 6/7: stopped after 4 s, the limit of the sweep"
    assert errors == {
        **dict.fromkeys((0, 1, 8, 9), ""),
        2: "cell 6/7: ValueError: on purpose, in two lines",
        3: limit,
        4: "cell 6/7: ended by SIGSEGV",
        5: limit,
        6: "cell 6/7: SystemExit",
        7: "cell 6/7: ended by exit status 3",
    }
    assert table["mean"].dropna().tolist() == [0, 2, 16, 18] and ran() == dict.fromkeys((0, 1, 8, 9), 1)
    assert "10 points, 6 of them failed, 10 rows" in printed
    failed = {path.suffix for path in Path("_build/sweeps/a_sweep/failed").iterdir()}
    assert failed == {".ipynb", ".txt"} and "on purpose" in Path("_build/sweeps/a_sweep/summary.html").read_text()
    assert "0 to run" in run()[1]
    write("notebooks/first.ipynb", RECORD, COUNT)
    table, _ = run()
    assert (table["error"] == "").all() and not list(Path("_build/sweeps/a_sweep/failed").iterdir())


LEAK = """import os, sys, warnings
import jax
import matplotlib
import numpy as np
import earlytime.statistics
state = [
    "left" in globals(), jax.config.jax_enable_x64, jax.config.jax_debug_nans,
    matplotlib.rcParams["lines.linewidth"] == 7, os.environ.get("LEFT"), len(sys.path),
    np.get_printoptions()["precision"], os.path.basename(os.getcwd()),
    float(np.random.rand()), et.statistics.confidence_interval.__name__, len(matplotlib.pyplot.get_fignums()),
    len(jax.live_arrays()), hasattr(__builtins__, "left"), np.geterr()["over"], "".join(map(str, warnings.filters)),
]
print(repr(state), file=open(f"state-{seed}", "w"))
left = __builtins__.left = 1
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_debug_nans", True)
jax.numpy.ones(3)
matplotlib.rcParams["lines.linewidth"] = 7
os.environ["LEFT"] = "1"
sys.path.insert(0, "left")
np.set_printoptions(precision=2)
np.random.seed(0)
np.seterr(over="raise")
warnings.simplefilter("error")
et.statistics.confidence_interval = print
matplotlib.pyplot.figure()
os.makedirs("left", exist_ok=True)
os.chdir("left")
raise ValueError"""


@pytest.mark.slow
def test_nothing_that_a_run_leaves_reaches_the_next(checkout):
    sweep_of("import matplotlib.pyplot", LEAK, text="grid: {seed: [1, 2, 3, 4, 5, 6]}")
    run()
    states = [eval(Path(f"state-{seed}").read_text()) for seed in range(1, 7)]
    random = {state.pop(8) for state in states}
    assert all(state == states[0] for state in states) and states[0][:4] == [False] * 4
    assert random != {np.random.RandomState(0).rand()}


@pytest.mark.slow
def test_a_run_beside_others_records_the_bits_of_a_fresh_kernel(tmp_path, monkeypatch):
    """After one in float64, and after one that failed, which wants more memory than there is."""
    monkeypatch.chdir(ROOT)
    for variable in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "2")
    name = f"bits_{os.getpid()}"
    file, place = tmp_path / f"{name}.yaml", Path("_build/sweeps", name)
    points = [
        {"precision": "float64"},
        {"width": 1_000_000_000, "num_seeds": 1000},
        {"seed": 0},
        {"seed": 3},
        {"seed": 4},
    ]
    file.write_text(
        json.dumps({"notebook": "hu2020/moments", "fixed": TINY, "list": points, "threads": 2, "limit": 40})
    )
    code, printed = output_of(start(file))
    assert code == 0, printed
    found = [json.loads(path.read_text()) for path in (place / "points").iterdir()]
    assert sorted(bool(each["error"]) for each in found) == [False] * 4 + [True]
    for each in found:
        if each["error"] or each["parameters"]["seed"] == 4:
            continue
        path = tmp_path / f"{each['parameters']['precision']}-{each['parameters']['seed']}.json"
        parameters = {**each["parameters"], "results_path": str(path)}
        execute_notebook("notebooks/hu2020/moments.ipynb", None, parameters, kernel_name="python3", progress_bar=False)
        assert json.loads(path.read_text())["measured"] == each["results"]["measured"]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_executed_notebooks_are_kept_with_their_figures_where_that_is_asked_for(checkout, kept):
    plot = "import matplotlib.pyplot as plt\nfrom earlytime import plotting\nplotting.use_style()\nplt.plot([1, seed]);"
    sweep_of(RECORD, plot, text=f"grid: {{seed: [1, 2]}}\nnotebooks: {'yes' if kept else 'no'}")
    table, _ = run()
    assert table["mean"].tolist() == [2, 4]
    notebooks = list(Path("_build/sweeps/a_sweep/notebooks").iterdir())
    assert len(notebooks) == 2 * kept and all("<svg" in path.read_text() for path in notebooks)


WAIT = (
    "import pathlib, time\npathlib.Path(f'at-{seed}').touch()\nwhile not pathlib.Path('go').exists(): time.sleep(0.1)"
)


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
def test_two_sweeps_at_once_an_edit_meanwhile_and_a_sweep_that_is_terminated(checkout):
    sweep_of(RECORD, WAIT, COUNT)
    first = start()
    wait_until(lambda: len(list(Path().glob("at-*"))) == 2)
    code, printed = output_of(start())
    assert code != 0 and "the sweep a_sweep is running in this checkout already" in printed
    notebook = Path("notebooks/first.ipynb")
    source = notebook.read_text()
    notebook.write_text(source + " ")
    Path("go").touch()
    code, printed = output_of(first)
    assert code != 0 and "the source changed while it ran; start the sweep again" in printed
    assert not list(Path("_build/sweeps/a_sweep/points").iterdir())
    notebook.write_text(source)
    for path in [*Path().glob("at-*"), Path("go"), Path("ran")]:
        path.unlink()
    second = start(start_new_session=True)
    wait_until(lambda: len(list(Path().glob("at-*"))) == 2)
    below = psutil.Process(second.pid).children(recursive=True)
    os.killpg(second.pid, signal.SIGTERM)
    assert output_of(second)[0] != 0
    assert not psutil.wait_procs(below, timeout=20)[1]
    Path("go").touch()
    assert run()[0]["mean"].tolist() == [2, 4, 6] and ran() == {1: 1, 2: 1, 3: 1}


@pytest.mark.slow
def test_a_sweep_with_a_value_that_a_rule_refuses_runs_nothing(checkout):
    sweep_of(RECORD, COUNT, text="grid: {seed: [1, -1, x]}")
    code, printed = output_of(start())
    assert code != 0 and "seed: expected a whole number from 0 to 4294967295, got -1" in printed and "'x'" in printed
    assert "Traceback" not in printed and not Path("ran").exists() and not Path("_build").exists()


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_has_every_run_once(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in ("JAX_ENABLE_X64", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    file = Path(f"_build/killed_{os.getpid()}.yaml")
    file.parent.mkdir(exist_ok=True)
    done = killed_sweep(file, 30, len(KINDS))
    assert set(done.values()) == {1}
    check_table(file, 30)


@pytest.mark.slow
def test_no_notebook_imports_what_starts_jax_or_a_thread():
    """A process that was forked with either would have half of it."""
    program = """
import sys, threading
sys.path.insert(0, "pipeline")
import jax
from pathlib import Path
from papermill.iorw import load_notebook_node
from sweep_shell import make_shell
from sweep_worker import import_modules
for path in sorted(Path("notebooks").rglob("*.ipynb")):
    import_modules(load_notebook_node(str(path)))
make_shell(figures=True)
print(jax._src.xla_bridge.backends_are_initialized(), threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=NOBODY, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "1"], done.stderr
