"""The table of what ran, where, and what it cost."""

from pathlib import Path

from some_results import RECORD, RUN
from status import status_text


def test_status_tells_what_a_run_cost_and_on_what(results):
    text = status_text(results(RECORD), Path())
    assert text.startswith("Profile `standard`, on cpu, with jax 1:\n\n| notebook | time |")
    assert "| `part/first` | 61 s | 20 s | 9 (3 read) | 1.2 GB | 2026-01-02 03:04:05 UTC |" in text
    assert "| all | 61 s | 20 s | 9 (3 read) |" in text
    text = status_text(results(RECORD, from_cache=0, peak_memory={"host": 2**30, "device": 3 * 2**30}), Path())
    assert "| 61 s | 20 s | 12 | 1.1 GB, GPU 3.2 GB |" in text


def test_status_has_a_table_per_machine(results):
    found = results(RECORD)
    text = status_text(found._replace(runs=found.runs | {"other": RUN | {"device": "gpu"}}), Path())
    assert text.count("| all | 61 s |") == 2 and "on gpu, with jax 1:" in text
