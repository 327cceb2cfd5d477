"""What Snakemake runs again, and what is left when it is killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

RESULTS = ["_build/smoke/results/first.json", "_build/smoke/results/part/second.json"]


def snakemake(*arguments, profile="smoke", **kwargs):
    command = [sys.executable, "-m", "snakemake", *arguments, "--config", f"profile={profile}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


def output_of(process):
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def test_unknown_profile_is_refused(checkout):
    code, printed = output_of(snakemake("-n", profile="huge"))
    assert code != 0 and "expected one of ['gpu', 'smoke', 'standard'], got 'huge'" in printed


def test_profile_of_an_unknown_notebook_is_refused(checkout):
    (checkout / "pipeline/profiles/smoke.yaml").write_text("third: {seed: 1}\n")
    code, printed = output_of(snakemake("-n"))
    assert code != 0 and "names ['third'], which are not in notebooks/" in printed


@pytest.mark.slow
def test_a_changed_parameter_reruns_only_its_notebook(checkout):
    code, printed = output_of(snakemake(*RESULTS))
    assert code == 0, printed
    assert printed.count(" done (") == 2 and "[2/2]" in printed
    (checkout / "pipeline/profiles/smoke.yaml").write_text("part/second: {seed: 1}\n")
    code, printed = output_of(snakemake(*RESULTS))
    assert code == 0, printed
    assert "[1/2] part/second done (" in printed and "first done" not in printed
    code, printed = output_of(snakemake(*RESULTS))
    assert code == 0 and "Nothing to be done" in printed


@pytest.mark.slow
def test_after_a_kill_nothing_runs_on_and_the_next_build_works(checkout, write_notebook):
    says = "import pathlib, time\npathlib.Path('running').touch()"
    waits = "while not pathlib.Path('go').exists(): time.sleep(0.1)"
    write_notebook(checkout / "notebooks/first.ipynb", says, waits)
    killed = snakemake(RESULTS[0])
    wait_until((checkout / "running").exists)
    code, printed = output_of(snakemake(RESULTS[0]))
    assert code != 0 and "another build of the profile smoke is running" in printed
    children = psutil.Process(killed.pid).children(recursive=True)
    assert len(children) >= 2  # papermill and its kernel
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
    assert not (checkout / RESULTS[0]).exists()
    (checkout / "go").touch()
    code, printed = output_of(snakemake(RESULTS[0]))
    assert code == 0, printed
    assert (checkout / RESULTS[0]).exists()
