"""Who may write a profile's files: one build, and the jobs that it has submitted itself."""

import os
import subprocess
import sys
from pathlib import Path

import one_build
import pytest
import slurm
from test_current import publish_as_of_now
from tiny_checkout import output_of, ran

RESULTS = Path("_build/smoke/results")


@pytest.fixture
def begun(checkout, monkeypatch):
    """A build that has begun in this process."""
    monkeypatch.setenv(one_build.BUILD, "")
    lock, started = one_build.begin("smoke")
    yield started
    lock.close()


def on_a_node(name):
    """What Snakemake runs on a cluster's node for one notebook."""
    command = [sys.executable, "-m", "snakemake", "--target-jobs", f"notebook:name={name}", "--mode", "remote"]
    command += ["--allowed-rules", "notebook", "--cores", "all", "--force", "--no-hooks", "--config", "profile=smoke"]
    command += ["--rerun-triggers", "mtime", "--nolock", "--ignore-incomplete", "--drop-metadata"]
    return output_of(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))


def test_a_build_holds_its_profile_until_it_ends(begun, checkout):
    with pytest.raises(SystemExit, match="another build of the profile smoke is running"):
        one_build.begin("smoke")
    assert one_build.begun("smoke") == begun == float(os.environ[one_build.BUILD])
    lock, _ = one_build.begin("standard")
    lock.close()


def test_a_job_on_a_node_runs_its_notebook_and_touches_no_other(begun):
    """While the build that submitted it holds the lock, and though other files do not count."""
    for name in ("first", "part/second"):
        publish_as_of_now(name)
    other = RESULTS / "part/second.json"
    other.write_text("altered")
    code, printed = on_a_node("first")
    assert code == 0 and ran(printed) == {"first"}, printed
    assert other.read_text() == "altered" and "The pages" not in printed


def test_a_job_of_an_earlier_build_removes_nothing_and_runs_nothing(begun, monkeypatch):
    publish_as_of_now("first")
    record = (RESULTS / "first.run.json").read_text()
    for before in (repr(begun - 1), ""):
        monkeypatch.setenv(one_build.BUILD, before)
        code, printed = on_a_node("first")
        assert code != 0 and "this job is from an earlier build of the profile smoke" in printed
    assert (RESULTS / "first.run.json").read_text() == record


@pytest.fixture
def no_slurm(checkout, monkeypatch):
    Path("_build/smoke").mkdir(parents=True)
    monkeypatch.setenv("PATH", "empty")


def test_without_slurm_there_is_nothing_to_settle(no_slurm):
    slurm.settle("smoke", submits=False)
    slurm.settle("smoke", submits=True)
    assert not Path("_build/smoke/submitted").exists()


def test_a_queue_that_cannot_be_asked_is_not_taken_for_an_empty_one(no_slurm):
    Path("_build/smoke/submitted").touch()
    with pytest.raises(SystemExit, match="there is no squeue here to ask for them"):
        slurm.settle("smoke", submits=False)


def test_a_slurm_that_does_not_answer_ends_the_build(no_slurm, monkeypatch):
    squeue = Path("bin/squeue").absolute()
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent))
    with pytest.raises(SystemExit, match="squeue: Unable to contact slurm controller"):
        slurm.settle("smoke", submits=True)


def test_only_jobs_of_this_checkout_and_profile_are_waited_for(no_slurm, monkeypatch):
    here, call = os.getcwd(), "9f3c6f2e-0b1d-4c5a-8e7f-001122334455"
    lines = [
        f"1|RUNNING|smoke_{call}|rule_notebook_wildcards_part_second|{here}",
        f"2|PENDING|{call}|rule_notebook_wildcards_first|{here}",
        f"3|RUNNING|standard_{call}|rule_notebook_wildcards_first|{here}",
        f"4|RUNNING|smoke-seed-1_{call}|rule_notebook_wildcards_first|{here}",
        f"5|RUNNING|smoke_{call}|rule_notebook_wildcards_first|/elsewhere",
        f"6|PENDING|smoke_test|(null)|{here}",
        f"7|RUNNING|smoke_{call}|(null)|{here}",
        f"8|RUNNING|smoke_{call}|(null)|{here}|other",
    ]
    squeue = Path("bin/squeue").absolute()
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:/bin")
    assert slurm.left_in_queue("smoke") == [
        ("1", "RUNNING", "part_second"),
        ("2", "PENDING", "first"),
        ("7", "RUNNING", "(null)"),
    ]
