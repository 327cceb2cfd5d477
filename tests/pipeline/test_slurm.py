"""Builds through a real Slurm of one node, started here: what finished is kept, and no notebook runs twice at once."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_checkout import (
    CAN_BE_INTERRUPTED,
    ROOT,
    commands_of,
    make_environment,
    output_of,
    page,
    say,
    shown,
    snakemake,
    type_in,
    write,
)

SCRIPT = ROOT / "tests/cluster/slurm.sh"
CONFIGURATION = Path("/etc/slurm/slurm.conf")
# A line for each time that a notebook starts, with what its job was given.
NOTE = """import os, json
given = {{name: os.environ.get(name) for name in ("SLURM_JOB_ID", "NPROC", "CUDA_VISIBLE_DEVICES")}}
print(json.dumps({{"name": "{name}", **given}}), file=open("started", "a"))"""
WAIT = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.1)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The daemons, which end with the tests of this file."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("Snakemake's plugin for Slurm is not installed: make setup-slurm")
    if os.getuid() != 0:
        pytest.skip("starting a Slurm takes root")
    if CONFIGURATION.exists():
        pytest.skip(f"there is another Slurm here, of {CONFIGURATION}")
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        if shutil.which("apt-get") is None:
            pytest.skip("Slurm is not installed, and there is no apt-get to install it")
        installed = subprocess.run([SCRIPT, "install"], capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"Slurm cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SCRIPT, "start", folder], stderr=subprocess.PIPE, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield folder
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def cluster(slurm, checkout):
    """A tiny checkout whose four notebooks note that they start; nothing of it is left in the queue or runs on."""
    (checkout / "pyproject.toml").touch()
    for name in ("first", "part/second", "part/third", "part/fourth"):
        notebook(name)
    measured = {"seconds": 300, "host": 1e9}
    (checkout / "pipeline/resources.json").write_text(json.dumps({"smoke": {"first": measured}}))
    yield checkout
    for process in runners():
        process.kill()  # where a test has failed
    subprocess.run(["scancel", "--me"], check=True)
    wait_until(lambda: not queue() and not runners())


def notebook(name, *code):
    write(f"notebooks/{name}.ipynb", NOTE.format(name=name), *code, say(Path(name).name))


def build(*options, profile="smoke"):
    """`make book CLUSTER=slurm`, with the environment of the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "book", f"PROFILE={profile}", "CLUSTER=slurm"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**environment, "JAX_CUDA": "13"}
    ).stdout
    line = next(line for line in printed.splitlines() if " -m snakemake " in line)
    arguments = shlex.split(line.replace(".venv/bin/python", shlex.quote(sys.executable)))
    quickly = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")
    return subprocess.Popen(
        [*CAN_BE_INTERRUPTED, *arguments, *quickly, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_builds(*runs, profile="smoke", **words):
    """The next build starts these notebooks and no others, and then the pages show these words."""
    Path("started").write_text("")
    code, printed = output_of(build(profile=profile))
    assert code == 0, printed
    assert started() == sorted(runs), printed
    assert shown(profile) == page(**words)
    return printed


def wait_until(condition, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def queue(states="PENDING,RUNNING,COMPLETING,SUSPENDED"):
    command = ["squeue", "--me", "--noheader", "--format=%i", f"--states={states}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def notes():
    lines = Path("started").read_text().splitlines() if Path("started").exists() else []
    return [json.loads(line) for line in lines]


def started():
    return sorted(note["name"] for note in notes())


def runners():
    """Processes of this checkout, kernels included, wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        folder = process.info["cwd"] or ""
        if folder.startswith(os.getcwd()) and process.pid != os.getpid():
            found += [process] if process.info["status"] != psutil.STATUS_ZOMBIE else []
    return found


def published(profile="smoke"):
    folder, ending = Path("_build", profile, "results"), ".run.json"
    return sorted(path.relative_to(folder).as_posix().removesuffix(ending) for path in folder.rglob(f"*{ending}"))


WHOLE = {"first": "first 0", "second": "second 0", "third": "third 0", "fourth": "fourth 0"}


def test_jobs_get_what_they_ask_for_and_what_is_current_is_not_submitted(cluster):
    notebook("part/second", WAIT)
    building = build("--slurm-keep-successful-logs")
    wait_until(lambda: {"first", "part/second"} <= set(started()))
    jobs = {note["name"]: note["SLURM_JOB_ID"] for note in notes()}
    asked = {
        name: subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
        for name, job in jobs.items()
    }
    Path("go").touch()
    code, printed = output_of(building)
    assert code == 0, printed
    assert shown() == page(**WHOLE)
    # four times 300 s, and one and a half times 1 GB and 800 MB; what was not measured asks for the most
    assert "TimeLimit=00:20:00" in asked["first"] and "mem=2300M" in asked["first"]
    assert "TimeLimit=12:00:00" in asked["part/second"] and "mem=16000M" in asked["part/second"]
    assert all("NumCPUs=2 " in said for said in asked.values())
    assert len({note["SLURM_JOB_ID"] for note in notes()}) == 4 and {note["NPROC"] for note in notes()} == {"2"}
    assert {note["CUDA_VISIBLE_DEVICES"] for note in notes()} == {None}
    logs = [path.read_text() for path in Path(".snakemake/slurm_logs").rglob("*.log")]
    assert len(logs) == 4 and all("/4] " in log for log in logs)
    assert "The book in _build/smoke/html is current" in assert_builds(**WHOLE)


def test_a_job_in_the_profile_gpu_sees_one_gpu(cluster):
    assert_builds("first", "part/fourth", "part/second", "part/third", profile="gpu", **WHOLE)
    assert {note["CUDA_VISIBLE_DEVICES"] for note in notes()} <= {"0", "1"}


def test_jobs_that_fail_are_cancelled_or_take_too_much_are_named_with_the_reason_and_run_again_once_mended(cluster):
    notebook("part/second", "raise RuntimeError('on purpose')")
    for name in ("part/third", "part/fourth"):
        notebook(name, WAIT)
    notebook("first", "filled = b'x' * 3 * 10**9", WAIT)
    building = build("--set-resources", "notebook:runtime=1", "notebook:mem_mb=2000")
    wait_until(lambda: "part/third" in started())
    [cancelled] = [note["SLURM_JOB_ID"] for note in notes() if note["name"] == "part/third"]
    subprocess.run(["scancel", cancelled], check=True)
    code, printed = output_of(building)
    assert code != 0 and published() == [], printed
    ends = dict(re.findall(r"SLURM-job '(\d+)' failed, SLURM status is: '(\w+)'", printed))
    jobs = {note["name"]: note["SLURM_JOB_ID"] for note in notes()}
    assert ends == {
        jobs["part/second"]: "FAILED",
        jobs["part/third"]: "CANCELLED",
        jobs["part/fourth"]: "TIMEOUT",
        jobs["first"]: "FAILED",  # OUT_OF_MEMORY takes cgroups
    }, printed
    logs = {path.stem: path for path in Path(".snakemake/slurm_logs").rglob("*.log")}
    assert set(logs) == set(ends) and all(str(path) in printed for path in logs.values())
    assert "on purpose" in logs[jobs["part/second"]].read_text()
    assert "exceeded memory limit" in logs[jobs["first"]].read_text()
    wait_until(lambda: not runners(), 20)
    Path("go").touch()
    notebook("part/second")
    notebook("first")
    assert_builds("first", "part/fourth", "part/second", "part/third", **WHOLE)


def build_until_jobs_wait_and_run():
    """A build whose notebook `first` has finished before, of which two jobs run, and one waits for their cores."""
    code, printed = output_of(snakemake())
    assert code == 0, printed
    for name in ("part/second", "part/third", "part/fourth"):
        notebook(name, WAIT)
    Path("started").unlink()
    building = build()
    wait_until(lambda: len(started()) == 2 and len(queue("PENDING")) == 1)
    assert published() == ["first"]
    return building


def kill_while_jobs_wait_and_run():
    building = build_until_jobs_wait_and_run()
    building.kill()
    output_of(building)
    assert len(queue("RUNNING")) == 2


def test_commands_of_the_page(cluster):
    make_environment(cluster)
    with open("pipeline/cluster/slurm/config.yaml", "a") as file:
        file.write("slurm-init-seconds-before-status-checks: 1\n")
    code, printed = output_of(snakemake())
    assert code == 0, printed
    all_four = ["first", "part/fourth", "part/second", "part/third"]
    here, on_gpus, write_down, copied = commands_of("book/bigger.md", "On Slurm")
    for commands, profile, runs in ((here, "standard", all_four), (on_gpus, "gpu", all_four), (copied, "standard", [])):
        Path("started").write_text("")
        code, printed = type_in(commands)
        assert code == 0, printed
        assert started() == runs and all(note["SLURM_JOB_ID"] for note in notes())
        assert shown(profile) == page(**WHOLE)
    assert "The book in _build/standard/html is current" in printed
    code, printed = type_in(write_down)
    assert code == 0, printed
    assert sorted(json.loads(Path("pipeline/resources.json").read_text())["smoke"]) == all_four


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_takes_its_jobs_out_of_the_queue(cluster, sent):
    building = build_until_jobs_wait_and_run()
    building.send_signal(sent)
    code, printed = output_of(building)
    assert code != 0 and f"Stopped by {sent.name}" in printed
    wait_until(lambda: not queue() and not runners(), 30)
    Path("go").touch()
    assert_builds("part/fourth", "part/second", "part/third", **WHOLE)


def test_after_a_killed_scheduler_the_next_waits_for_what_runs_and_runs_nothing_twice(cluster):
    kill_while_jobs_wait_and_run()
    running = queue("RUNNING")
    resumed = build()
    wait_until(lambda: not queue("PENDING"))
    time.sleep(5)
    assert len(started()) == 2 and queue() == running  # neither twice at once, nor given up
    Path("go").touch()
    code, printed = output_of(resumed)
    assert code == 0, printed
    assert "Waiting for jobs of an earlier build: " in printed and all(f"({job})" in printed for job in running)
    assert started() == ["part/fourth", "part/second", "part/third"]
    assert shown() == page(**WHOLE)


def test_what_a_killed_scheduler_has_submitted_goes_on_without_it(cluster):
    kill_while_jobs_wait_and_run()
    Path("go").touch()
    wait_until(lambda: not queue())
    assert published() == ["first", "part/fourth", "part/second", "part/third"]
    assert_builds(**WHOLE)


def test_a_build_without_slurm_waits_for_jobs_in_the_queue_too(cluster):
    kill_while_jobs_wait_and_run()
    here = snakemake()
    wait_until(lambda: not queue("PENDING"))
    Path("go").touch()
    code, printed = output_of(here)
    assert code == 0 and "Waiting for jobs of an earlier build: " in printed
    assert started() == ["part/fourth", "part/second", "part/third"]
    assert len({note["SLURM_JOB_ID"] for note in notes()}) == 3  # two jobs, and None
    assert shown() == page(**WHOLE) and not Path("_build/smoke/submitted").exists()
