"""Notebooks on a machine with several GPUs, which are pretended: no notebook needs one."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import one_gpu
import psutil
import pytest
from tiny_checkout import ROOT, commands_of, make_environment, output_of, ran, say, type_in, write

# A line with the GPUs that a notebook sees, and when it began and ended.
NOTE = """import json, os, time
began = time.time()
time.sleep(1)
print(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], began, time.time()]), file=open("seen", "a"))"""
WITH_ONE = [sys.executable, str(ROOT / "pipeline/one_gpu.py")]
SAY = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Two GPUs, whose locks are no others'."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-b7")
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def hold(pretended):
    """Returns a function that starts a process, by default one that takes a GPU, or waits for one, and prints it."""
    started = []

    def hold(*command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command or [*WITH_ONE, str(os.getpid()), sys.executable, "-c", SAY], **pipes))
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_each_notebook_sees_one_gpu_and_shares_it_with_none(checkout, pretended):
    for name in ("first", "part/second", "part/third", "part/fourth"):
        write(f"notebooks/{name}.ipynb", NOTE, say("done"))
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "pipeline/cluster/gpus", "--cores", "8"]
    building = subprocess.Popen(
        [*command, "runs", "--config", "profile=gpu"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    code, printed = output_of(building)
    assert code == 0 and len(ran(printed)) == 4, printed
    seen = [json.loads(line) for line in Path("seen").read_text().splitlines()]
    assert {gpu for gpu, _, _ in seen} == {"0", "GPU-b7"}
    for gpu in ("0", "GPU-b7"):
        times = sorted((began, ended) for each, began, ended in seen if each == gpu)
        assert len(times) >= 2 and all(ended <= begins for (_, ended), (begins, _) in zip(times, times[1:]))


def test_a_gpu_is_free_again_however_its_holder_ends(hold):
    first, second = hold(), hold()
    taken = {first.stdout.readline(), second.stdout.readline()}
    assert taken == {"0\n", "GPU-b7\n"}
    third = hold()
    assert select.select([third.stdout], [], [], 1)[0] == []
    second.kill()
    assert third.stdout.readline() in taken


def test_who_waits_for_a_gpu_ends_with_its_parent(hold):
    for _ in range(2):
        hold().stdout.readline()
    parent = hold(
        sys.executable,
        "-c",
        f"import os, subprocess; child = subprocess.Popen([*{WITH_ONE}, str(os.getpid()), 'true'])\n"
        "print(child.pid, flush=True); child.wait()",
    )
    waiting = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    end = time.monotonic() + 20
    while waiting.is_running() and waiting.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    "visible, driver, expected",
    [
        ("3", None, ["3"]),
        ("2,-1,0", None, ["2"]),
        ("1, GPU-b,", None, ["1", "GPU-b"]),
        (None, "GPU-a\nGPU-b\n", ["GPU-a", "GPU-b"]),
    ],
)
def test_the_gpus_to_share(tmp_path, monkeypatch, visible, driver, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if driver is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{driver}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert one_gpu.gpus() == expected


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_no_gpu_is_said(tmp_path, monkeypatch, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="nvidia-smi finds none, or CUDA_VISIBLE_DEVICES is empty"):
        one_gpu.gpus()


@pytest.mark.slow
def test_commands_of_the_page(checkout, monkeypatch):
    """On a machine with three GPUs, as its driver says."""
    make_environment(checkout)
    driver = checkout / "driver/nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\ncase $1 in *uuid*) printf 'GPU-a\\nGPU-b\\nGPU-c\\n';; *) echo 580.65.06;; esac\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(checkout))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    on_all, on_two = commands_of("book/bigger.md", "A machine with several GPUs")
    for commands, seen in ((on_all, {"GPU-a", "GPU-b", "GPU-c"}), (on_two, {"0", "1"})):
        shutil.rmtree("_build", ignore_errors=True)
        Path("seen").write_text("")
        for name in ("first", "part/second", "part/third"):
            write(f"notebooks/{name}.ipynb", NOTE, say("done"))
        code, printed = type_in(commands)
        assert code == 0 and len(ran(printed)) == 3, printed
        gpus = {json.loads(line)[0] for line in Path("seen").read_text().splitlines()}
        assert gpus <= seen and (os.cpu_count() < len(seen) or gpus == seen)
