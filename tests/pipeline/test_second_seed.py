"""A notebook that runs again: with another seed it compiles nothing, since no program holds data, or what depends on
them; with the same seed it records the same bits.
"""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from fingerprint import load_profile, source_notebooks
from tiny_checkout import ROOT

# diffrax calls back into Python, and such a program cannot be kept.
NEVER_KEPT = {"lee2019/function_space": 1}

PROGRAM = """
import json, sys
import jax.monitoring
import matplotlib

matplotlib.use("agg")
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rsplit("/", 1)[-1]))
jax.monitoring.register_event_duration_secs_listener(lambda event, took, **_: events.append(event.rsplit("/", 1)[-1]))
namespace = {"__name__": "__main__"}
for source, parameters in json.load(sys.stdin):
    exec(source, namespace)
    namespace.update(parameters)
print(events.count("cache_misses"), events.count("backend_compile_duration"))
"""


def cells(name, **parameters):
    given = load_profile("smoke")[name] | parameters
    for cell in nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            yield cell.source, given if "parameters" in cell.metadata.get("tags", []) else {}
        elif cell.cell_type == "code":
            yield "import earlytime as et", {}


def programs(name, cache, **parameters):
    """How many programs were not found in the cache, and how many there were."""
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "EARLYTIME_COMPILE_CACHE": str(cache)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | flags
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(cells(name, **parameters))),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()[-2:]]


def notebooks(quick):
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in source_notebooks()]


@pytest.mark.parametrize("name", notebooks("hu2020/theorem_3_2"))
def test_another_seed_compiles_nothing(name, tmp_path):
    missed, compiled = programs(name, tmp_path, seed=0)
    assert missed > 0 and compiled >= missed
    assert programs(name, tmp_path, seed=7)[0] == NEVER_KEPT.get(name, 0)


@pytest.mark.parametrize("name", notebooks("hu2020/moments"))
def test_the_same_seed_records_the_same_bits(name, tmp_path):
    recorded = []
    for seed in (0, 0, 1):
        path = tmp_path / f"{len(recorded)}.json"
        programs(name, tmp_path / "cache", seed=seed, results_path=str(path))
        results = json.loads(path.read_text())
        recorded.append((results["claims"], results["measured"]))
        assert results["run"]["parameters"]["seed"] == seed and any(recorded[-1])
    assert recorded[0] == recorded[1] != recorded[2]
