"""A notebook that runs again with another seed compiles nothing: no program holds data, or what depends on them."""

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


def cells(name, seed):
    given = load_profile("smoke")[name] | {"seed": seed}
    for cell in nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            yield cell.source, given if "parameters" in cell.metadata.get("tags", []) else {}
        elif cell.cell_type == "code":
            yield "import earlytime as et", {}


def programs(name, seed, cache):
    """How many programs were not found in the cache, and how many there were."""
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "EARLYTIME_COMPILE_CACHE": str(cache)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | flags
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(cells(name, seed))),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()[-2:]]


QUICK = "hu2020/theorem_3_2"


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in source_notebooks()]
)
def test_another_seed_compiles_nothing(name, tmp_path):
    missed, compiled = programs(name, 0, tmp_path)
    assert missed > 0 and compiled >= missed
    assert programs(name, 7, tmp_path)[0] == NEVER_KEPT.get(name, 0)
