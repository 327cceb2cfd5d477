"""What a machine does to a build: signals and kills at any moment, a full disk. The next build finishes the work."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from current import notebooks_to_run, published
from fingerprint import source_notebooks
from tiny_checkout import (
    RESULTS,
    ROOT,
    WAIT,
    assert_builds,
    assert_current,
    build,
    make_checkout,
    output_of,
    page,
    ran,
    say,
    shown,
    snakemake,
    stop,
    wait_until,
    write,
)

WHOLE = {"first": "first 0", "second": "second 0", "third": "third 0"}
STOPPED = "Stopped by {}: what had finished stays, the next build runs the rest"
KILLS = 30
# Real numbers, in a time that leaves moments to be killed in.
MEASURE = """import json, time, numpy
values = numpy.linalg.svd(numpy.random.default_rng(seed).standard_normal((60, 60)), compute_uv=False)
for done in range(10):
    time.sleep(0.1)
    measured = {{"run": et.RUN, "claims": {{"{word}": values[: 1 + 6 * done].tolist()}}}}
    json.dump(measured, open(results_path, "w"))
print("{word}", values.sum())"""


def can_be_interrupted():
    """What runs in the background of a shell ignores SIGINT, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(printed, command=None, **kwargs):
    """Begins a build in a group of its own, whose lines go to a file: nobody waits for who holds its pipe open."""
    kwargs = {"start_new_session": True, "preexec_fn": can_be_interrupted, **kwargs}
    with open(printed, "w") as file:
        if command:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **kwargs)
        return snakemake(stdout=file, **kwargs)


def jobs_of(process, program="run_notebook.py"):
    """The runners of a build, or with "ipykernel_launcher" its kernels."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if any(program in part for part in child.cmdline())]
    except psutil.NoSuchProcess:
        return []


# Signals


@pytest.mark.parametrize(
    ("number", "to"),
    [
        (signal.SIGTERM, os.kill),
        pytest.param(signal.SIGINT, os.killpg, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, os.killpg, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, os.kill, marks=pytest.mark.slow),
    ],
)
def test_a_build_that_is_stopped_ends_at_once_and_says_why(built, number, to):
    write("notebooks/first.ipynb", say("edited"))
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    process = begin("printed")
    wait_until(lambda: Path("running").exists() and "first" not in notebooks_to_run("smoke"))
    at = time.monotonic()
    stop(process, lambda: to(process.pid, number))
    assert time.monotonic() - at < 5
    after = Path("printed").read_text().split("[1/3]", 1)[1].splitlines()[1:]
    assert [line for line in after if not line.startswith("[")] == [
        STOPPED.format(number.name),
        "The pages of _build/smoke/html are from before",
    ]
    Path("go").touch()
    assert_builds({"part/second"}, first="edited 0", second="edited 0", third="third 0")


@pytest.mark.slow
def test_make_hands_a_signal_on(built):
    """`make`, as a scheduler or a container ends it; then the next `make`."""
    python = Path(".venv/bin/python")
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH=stand_ins exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    Path("pyproject.toml").touch()
    sums = subprocess.run("cat requirements.txt pyproject.toml | cksum", shell=True, capture_output=True, text=True)
    Path(".venv/ready").write_text(f"{built}\n{sums.stdout}")
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "OTHER_SOURCES", "PROFILE", "PYTHON", "RESULTS"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    command = ["make", "book", "PROFILE=smoke"]
    make = begin("printed", command, env=environment)
    wait_until(Path("running").exists)
    stop(make, make.terminate)
    printed = Path("printed").read_text()
    assert STOPPED.format("SIGTERM") in printed and "Error in rule" not in printed
    Path("go").touch()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and ran(done.stdout) == {"part/second"}, done.stdout + done.stderr
    assert shown() == page(**WHOLE | {"second": "edited 0"})


@pytest.mark.slow
def test_a_killed_runner_takes_its_kernel_with_it_and_no_other_notebook(built):
    write("notebooks/first.ipynb", say("edited"))
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    process = snakemake()
    wait_until(Path("running").exists)
    (runner,) = [each for each in jobs_of(process) if "part/second" in each.cmdline()]
    (kernel,) = runner.children()
    runner.kill()
    wait_until(lambda: not kernel.is_running(), seconds=10)
    code, printed = output_of(process)
    assert code != 0 and ran(printed) == {"first"} and shown() == page(**WHOLE)
    Path("go").touch()
    assert_builds({"part/second"}, first="edited 0", second="edited 0", third="third 0")


@pytest.mark.slow
def test_of_two_builds_that_begin_together_one_goes_on(built):
    write("notebooks/part/second.ipynb", say("edited"), "import time; time.sleep(5)")
    ended = [output_of(each) for each in [snakemake(), snakemake()]]
    refused, done = sorted(ended, key=lambda each: each[0], reverse=True)
    assert refused[0] != 0 and "another build of the profile smoke is running" in refused[1] and not ran(refused[1])
    assert done[0] == 0 and ran(done[1]) == {"part/second"}
    assert shown() == page(**WHOLE | {"second": "edited 0"})


# Kills at random moments


def undisturbed(seed, folder):
    """What builds to their end have published for this seed, in a checkout of their own."""
    os.chdir(folder)
    set_seed(seed)
    code, _, printed = build()
    assert code == 0, printed
    return made()


def set_seed(seed):
    names = source_notebooks()
    Path("pipeline/profiles/smoke.yaml").write_text(json.dumps({name: {"seed": seed} for name in names}))


def made():
    """All that is published, but for what says when it ran and how long."""
    found = {"page": shown()}
    for name in source_notebooks():
        files = published(name, "smoke")
        record = json.loads(files.record.read_text())
        found[name] = (
            [(cell.source, cell.get("outputs")) for cell in nbformat.read(files.notebook, as_version=4).cells],
            files.results.read_bytes(),
            (record["parameters"], record["fingerprint"], record["sha256"]["results"]),
        )
    files = [path for place in ("results", "stage/notebooks") for path in Path("_build/smoke", place).rglob("*")]
    return found | {"files": sorted(str(path) for path in files if path.is_file())}


def kill_somehow(process, chance):
    """Returns what was killed, and waits for no more than a build that may go on alone."""
    runners, kernels = jobs_of(process), jobs_of(process, "ipykernel_launcher")
    ways = ["group", "group", "Snakemake", "Snakemake"] + ["runner"] * bool(runners) + ["kernel"] * bool(kernels)
    way, number = chance.choice(ways), signal.SIGKILL
    if way in ("group", "Snakemake"):
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        (os.killpg if way == "group" else os.kill)(process.pid, number)
    else:
        chance.choice(runners if way == "runner" else kernels).kill()
    process.wait(60)
    return f"{way} {number.name}"


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_and_double_nothing(tmp_path, monkeypatch):
    """Of every kind, with the next build beginning while what the killed one left behind may still be ending."""
    monkeypatch.setenv("PYTHONPATH", "stand_ins")
    here, apart = tmp_path / "Ein Weg, 'mit' Lücken & 名前", tmp_path / "apart"
    make_checkout(apart)
    for name in ("first", "part/second", "part/third"):
        write(apart / f"notebooks/{name}.ipynb", MEASURE.format(word=name))
    shutil.copytree(apart, here)
    monkeypatch.chdir(apart)
    at = time.monotonic()
    expected = {0: undisturbed(0, apart)}
    length = time.monotonic() - at
    number = random.randrange(2**32)
    chance, seed, kills, finished = random.Random(number), 0, [], 0
    print(f"random.Random({number}), within {length:.1f} s")
    os.chdir(here)
    set_seed(seed)
    while len(kills) < KILLS or notebooks_to_run("smoke"):
        to_run = set(notebooks_to_run("smoke"))
        printed = Path(f"printed {len(kills)} {seed}")
        process = begin(printed)
        try:
            process.wait(chance.uniform(0, length) if len(kills) < KILLS else 300)
        except subprocess.TimeoutExpired:
            kills.append(kill_somehow(process, chance))
            print(kills[-1], time.monotonic() - at, sorted(to_run))
        started = set(re.findall(r"\] (\S+) starting", printed.read_text()))
        assert started <= to_run, printed.read_text()
        if process.returncode == 0:
            assert notebooks_to_run("smoke") == {}
            if seed not in expected:
                expected[seed] = undisturbed(seed, apart)
                os.chdir(here)
            assert made() == expected[seed]
            finished += 1
            if len(kills) < KILLS:
                seed = 1 - seed  # all is to run again
                set_seed(seed)
        else:
            assert len(kills) <= KILLS and (len(kills) < KILLS or kills[-1]), printed.read_text()
    assert made() == expected[seed] and len(kills) == KILLS
    print(f"{finished} builds finished between {KILLS} kills")


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A checkout with one notebook of the real ones, the real module, and an empty cache of compiled programs."""
    make_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("notebooks")
    shutil.rmtree("stand_ins/earlytime")
    Path("notebooks/hu2020").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/hu2020/moments.ipynb", "notebooks/hu2020")
    tiny = yaml.safe_load((ROOT / "pipeline/profiles/smoke.yaml").read_text())["hu2020/moments"]
    Path("pipeline/profiles/smoke.yaml").write_text(json.dumps({"hu2020/moments": tiny}))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))  # as in the Makefile, and not the user's
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    return tmp_path


def measured_and_said():
    """What the real notebook has measured, and what its cells have written to stderr."""
    files = published("hu2020/moments", "smoke")
    cells = nbformat.read(files.notebook, as_version=4).cells
    said = [each.text for cell in cells for each in cell.get("outputs", []) if each.get("name") == "stderr"]
    return {**json.loads(files.results.read_text()), "run": None}, said


@pytest.mark.slow
def test_kills_while_it_compiles_change_no_number_and_leave_no_warning(real):
    at = time.monotonic()
    assert build()[0] == 0
    length, (expected, said) = time.monotonic() - at, measured_and_said()
    whole = {path.name: path.stat().st_size for path in Path("compiled").iterdir()}
    assert not said and len(whole) > 3 and any(value for value in expected.values())
    for path in [*Path("compiled").iterdir(), *published("hu2020/moments", "smoke")]:
        path.unlink()
    for _ in range(4):
        process = begin("printed")
        time.sleep(random.uniform(0.3, 0.9) * length)
        if process.poll() is None:
            (jobs_of(process, "ipykernel_launcher") or [process])[0].kill()
        process.wait(60)
        for path in published("hu2020/moments", "smoke"):
            path.unlink(missing_ok=True)
    for path in Path("compiled").iterdir():  # as kills would have it, if they came at the right moment
        path.write_bytes(path.read_bytes()[: random.randrange(path.stat().st_size)])
    assert build()[0] == 0
    assert measured_and_said() == (expected, [])
    assert {path.name for path in Path("compiled").iterdir()} == set(whole)
    published("hu2020/moments", "smoke").record.unlink()
    assert build()[0] == 0
    assert measured_and_said() == (expected, [])
    record = json.loads(published("hu2020/moments", "smoke").record.read_text())
    assert record["from_cache"] == len(whole)


# A disk that is full


FILL = """import os
free = os.statvfs("_build")
open("_build/filler", "wb").write(bytes(free.f_bavail * free.f_frsize - {free}))"""


@pytest.fixture
def small_disk(checkout):
    """A tiny checkout whose `_build` is a disk of 4 MB."""
    place = checkout / "_build"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    yield
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("free", [4096 * pages for pages in (0, 1, 2, 3, 5, 8)])
def test_a_disk_that_fills_up_is_named_and_costs_nothing_that_had_finished(small_disk, free):
    """From a notebook on; with some free space its end is written, or a part of it, and not the book."""
    assert_builds({"first", "part/second", "part/third"}, **WHOLE)
    write("notebooks/part/second.ipynb", say("edited"), FILL.format(free=free))
    code, names, printed = build()
    assert "first starting" not in printed and "part/third starting" not in printed
    if code:
        assert "No space left on device" in printed
    if not free:
        assert code != 0 and shown() == page(**WHOLE)
    left = set(notebooks_to_run("smoke"))
    assert left == {"part/second"} - names
    write("notebooks/part/second.ipynb", say("edited"))
    Path("_build/filler").unlink()
    assert_builds({"part/second"}, **WHOLE | {"second": "edited 0"})
    assert_current()


# What is published is another's


def test_results_of_another_notebook_or_none_are_made_again(built):
    (RESULTS / "first.json").write_bytes((RESULTS / "part/second.json").read_bytes())
    for theirs, ours in zip(published("part/second", "smoke"), published("part/third", "smoke"), strict=True):
        ours.write_bytes(theirs.read_bytes())
    (RESULTS / "part/second.json").write_bytes(b"")
    printed = assert_builds({"first", "part/second", "part/third"}, **WHOLE)
    assert f"{RESULTS}/first.json was cut short or altered" in printed
    assert "the source changed: running part/third again" in printed
    for file in published("first", "smoke"):
        file.write_bytes(b"")
    assert_builds({"first"}, **WHOLE)


# A notebook that hangs


@pytest.mark.slow
def test_a_notebook_that_hangs_is_stopped_and_the_others_are_published(built):
    profile = Path("pipeline/profiles/smoke.yaml")
    profile.write_text("minutes_per_cell: 0.1\n")
    write("notebooks/first.ipynb", say("edited"))
    write("notebooks/part/second.ipynb", say("edited"), "import os; open('kernel', 'w').write(f'{os.getpid()}')", WAIT)
    code, names, printed = build()
    assert code != 0 and names == {"first"} and "part/second stopped" in printed
    assert "cell 7/7" in printed and "took longer than 0.1 minutes" in printed
    assert not psutil.pid_exists(int(Path("kernel").read_text()))
    Path("go").touch()
    profile.write_text("{}\n")  # a limit changes nothing of what ran
    assert_builds({"part/second"}, first="edited 0", second="edited 0", third="third 0")
