"""Tests run in float64 unless a test says otherwise: brute force is only worth its name there.

Annotations are checked on every call, doctests included, and nothing is broadcast or promoted in silence.
"""

import os

import jax
import pytest
from cifar10_archives import GOOD
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("earlytime", "type_checks.checked")  # before anything imports it

# A first example compiles, and the machine may be busy: no deadline says anything about the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# What a test compiles is nobody's business but its own.
os.environ["EARLYTIME_COMPILE_CACHE"] = "off"
# The workers of pytest-xdist share the cores; XLA asks this for the number of its threads.
os.environ["NPROC"] = str(max(1, os.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))))

# Another project's tests, what plants errors, and programs for several devices: each has a runner of its own.
collect_ignore = ["neural_tangents_suite", "mutants", "devices"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, so that no test sees or touches the user's own."""
    monkeypatch.delenv("EARLYTIME_CIFAR10", raising=False)
    monkeypatch.setenv("EARLYTIME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def good_path(tmp_path):
    path = tmp_path / "good.tar.gz"
    path.write_bytes(GOOD)
    return path
