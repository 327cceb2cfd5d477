"""The benchmark at sizes that say nothing, and the page that is made of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bench
import numpy as np
import performance
import pytest
from fingerprint import benchmarks
from tiny_checkout import ROOT


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    path, cache = folder / "deep/bench.json", folder / "cache"
    command = [sys.executable, "pipeline/bench.py", str(path), "--quick"]
    keep = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | keep)
    assert done.returncode == 0, done.stderr
    assert not cache.exists() or not any(cache.iterdir())  # what is read from there is no time of compiling
    assert "a training step" in done.stdout and "against n: time ~" in done.stdout
    return json.loads(path.read_text())


@pytest.mark.slow
def test_everything_is_measured(found):
    rows = {(row["what"].split(",")[0], row["against"]): row for row in found["ratios"]}
    against = {name for what, name in rows if what == "a training step"}
    assert {"its matrix products alone", "a plain fori_loop over jax.grad", "a loop over a jitted step"} <= against
    assert all(row["ratio"] == row["ours"] / row["theirs"] for row in found["ratios"])
    assert {row["against"] for row in found["scaling"]} == {"n", "d", "m", "seeds"}
    assert found["versions"]["jax"] and found["device"]


def test_candidates_take_turns_and_the_median_counts(monkeypatch):
    # After a round that is not timed, a takes 1, 3, 5 seconds and b 2, 4, 60.
    took, turns = [1, 2, 3, 4, 5, 60], []
    clock = iter([0, 0, *np.concatenate([(0, each) for each in took])])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    found = bench.seconds_of({name: lambda name=name: turns.append(name) for name in "ab"}, rounds=3)
    assert turns == list("abababab") and found == {"a": 3, "b": 4}


def test_exponents_are_those_of_the_sizes(monkeypatch):
    monkeypatch.setattr(bench, "compiled", lambda train, start, x, y: (len(x), 0.0, 8 * len(x)))
    monkeypatch.setattr(bench, "seconds_of", lambda programs, rounds: {"": programs[""] ** 1.5})
    grown = bench.growth({"n": 8, "d": 2, "m": 4}, "n", (8, 16, 64))
    assert grown["exponents"] == pytest.approx({"time": 1.5, "memory": 1.0})


@pytest.mark.slow
def test_the_page_shows_every_machine(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert performance.performance_text(None, None) == performance.NOTHING
    for path, device in (("_build/bench.json", "here"), ("results/gpu/bench.json", "an H100")):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(json.dumps(found | {"device": device}))
    assert len(benchmarks()) == 2
    text = performance.performance_text(None, None)
    assert "## here" in text and "## an H100" in text and f"jax {found['versions']['jax']}" in text


@pytest.mark.parametrize("seconds, text", [(None, ""), (12.3, "12.3 s"), (0.0123, "12.3 ms"), (1.23e-5, "12.3 μs")])
def test_times_have_a_unit(seconds, text):
    assert performance.time_text(seconds) == text
