"""The commands that a reader types, as far as they can be tried without installing anything."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*arguments):
    # The tests themselves may run under `make test PYTHON=...`, which hands its settings on.
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "OTHER_SOURCES", "PROFILE", "PYTHON", "RESULTS"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(["make", *arguments], capture_output=True, text=True, env=environment)


TARGETS = [
    "book",
    "bench",
    "bundle",
    "stability",
    "sweep",
    "check",
    "test",
    "test-all",
    "test-jax-versions",
    "test-mutants",
    "setup",
    "lock",
    "address",
    "clean",
]


@pytest.mark.parametrize("target", TARGETS)
def test_targets_exist(checkout, target):
    (checkout / "pyproject.toml").touch()
    result = make("-n", target)
    assert result.returncode == 0 and result.stdout, result.stderr


def test_unknown_profile_is_refused_before_anything(checkout):
    result = make("book", "PROFILE=huge")
    assert result.returncode != 0 and not result.stdout
    assert 'unknown PROFILE "huge": expected one of gpu smoke standard' in result.stderr


@pytest.fixture
def driver(checkout, monkeypatch):
    """Returns a function that installs an NVIDIA driver: its version, "" for one without a GPU, None for none."""
    there = checkout / "driver"
    there.mkdir()
    for tool in ("sh", "uname", "head", "make", "cat", "cksum"):
        (there / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(there))

    def install(version):
        if version is not None:
            (there / "nvidia-smi").write_text(f"#!/bin/sh\necho '{version}'\n")
            (there / "nvidia-smi").chmod(0o755)

    return install


@pytest.mark.parametrize(
    "version, missing",
    [
        (None, "there is no NVIDIA driver here (no nvidia-smi); make book needs none"),
        ("", "nvidia-smi finds no GPU"),
        ("No devices were found", "nvidia-smi finds no GPU"),
        ("470.82.01", "the NVIDIA driver 470.82.01 is too old for JAX: 525 or newer is needed"),
    ],
)
def test_without_a_gpu_one_line_says_what_is_missing_before_anything_is_installed(checkout, driver, version, missing):
    driver(version)
    result = make("book", "PROFILE=gpu")
    assert result.returncode != 0 and not result.stdout
    assert result.stderr.splitlines()[0] == f"PROFILE=gpu: {missing}"
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    "version, cuda", [("535.104.05", "12"), ("579.99", "12"), ("580.65.06", "13"), ("600.1", "13")]
)
def test_the_driver_chooses_cuda(checkout, driver, version, cuda):
    driver(version)
    found = subprocess.run(["sh", "pipeline/cuda.sh"], capture_output=True, text=True)
    assert found.stdout == f"{cuda}\n" and not found.stderr
    printed = make("-n", f".venv/ready-cuda{cuda}").stdout
    assert f"-r requirements-cuda{cuda}.txt" in printed


def test_old_python_is_refused_before_anything(checkout):
    for name in ("requirements.txt", "pyproject.toml"):
        (checkout / name).touch()
    old = checkout / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make("setup", f"PYTHON={old}")
    assert result.returncode != 0 and "Python 3.11 or newer is needed" in result.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_is_made_anew_for_another_place_or_other_packages(checkout):
    made_from = [checkout / name for name in ("requirements.txt", "pyproject.toml")]
    for path in made_from:
        path.write_text("one\n")
    stamp = checkout / ".venv/ready"
    stamp.parent.mkdir()
    sums = subprocess.run("cat requirements.txt pyproject.toml | cksum", shell=True, capture_output=True, text=True)
    stamp.write_text(f"{checkout}\n{sums.stdout}")
    assert "Nothing to be done" in make("-n", "setup").stdout
    os.utime(made_from[0])  # a later time alone changes nothing
    assert "Nothing to be done" in make("-n", "setup").stdout
    made_from[0].write_text("two\n")
    os.utime(made_from[0], (0, 0))  # an older time hides nothing
    printed = make("-n", "setup").stdout
    assert "pip install" in printed
    made_from[0].write_text("one\n")
    stamp.write_text(f"/somewhere/else\n{sums.stdout}")
    assert "pip install" in make("-n", "setup").stdout


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-cuda12.txt", "requirements-cuda13.txt"])
def test_pins_name_packages_only(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines)
    assert not any(line.startswith(("tensorflow", "tf2jax")) for line in lines)
