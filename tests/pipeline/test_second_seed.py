"""A notebook that runs again: with another seed it compiles nothing, since no program holds data, or what depends on
them (the exception is named); with the same seed it records the same bits.
"""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from fingerprint import load_profile, source_notebooks
from tiny_checkout import ROOT

# Its scaled network subtracts its own start, which another seed draws anew: a constant of the program.
WITH_ANOTHER_SEED = {"beyond/your_network": 5}
# Of the profile's digits it only records why no claim of its own images is judged.
NOTHING_JUDGED = {"hu2020/figure_4"}

PROGRAM = """
import json, sys
import jax.monitoring
import matplotlib

matplotlib.use("agg")
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rsplit("/", 1)[-1]))
namespace = {"__name__": "__main__", "display": print}  # as IPython has it
for source, parameters in json.load(sys.stdin):
    exec(source, namespace)
    namespace.update(parameters)
print(events.count("cache_misses"))
"""


def cells(name, **parameters):
    given = load_profile("smoke")[name] | parameters
    for cell in nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            yield cell.source, given if "parameters" in cell.metadata.get("tags", []) else {}
        elif cell.cell_type == "code":
            yield "import earlytime as et", {}


def programs(name, cache, **parameters):
    """How many programs were not found in the cache."""
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
    return int(done.stdout.split()[-1])


QUICK = "hu2020/moments"


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in source_notebooks()]
)
def test_again_with_the_same_seed_and_with_another(name, tmp_path):
    missed, recorded = [], []
    for seed in (0, 0, 7):
        path = tmp_path / f"{len(recorded)}.json"
        missed.append(programs(name, tmp_path / "cache", seed=seed, results_path=str(path)))
        results = json.loads(path.read_text())
        assert results["run"]["parameters"]["seed"] == seed and (results["claims"] or results["measured"])
        recorded.append((results["claims"], results["measured"]))
    assert missed[0] > 0 and missed[1:] == [0, WITH_ANOTHER_SEED.get(name, 0)]
    assert recorded[0] == recorded[1]
    assert (recorded[0] == recorded[2]) == (name in NOTHING_JUDGED)
