"""What notebooks ask of a cluster: at least what they were measured to take, and all of them were."""

import json
from pathlib import Path

import pytest
import resources
from test_current import publish_as_of_now
from tiny_checkout import ROOT

MEASURED = json.loads(resources.PLACE.read_text())
NOTEBOOKS = {
    path.relative_to(ROOT / "notebooks").with_suffix("").as_posix() for path in ROOT.glob("notebooks/**/*.ipynb")
}


@pytest.mark.parametrize("profile", ["smoke", "standard"])
def test_every_notebook_was_measured(profile):
    assert set(MEASURED[profile]) == NOTEBOOKS


@pytest.mark.parametrize("profile", MEASURED)
def test_a_notebook_asks_for_more_than_it_took(profile):
    for name, measured in MEASURED[profile].items():
        asked = resources.request(measured)
        assert asked.minutes >= 10 and 60 * asked.minutes > 3 * measured["seconds"], name
        assert 10e6 < 1.4 * measured["host"] < 1e6 * asked.mem_mb - 500e6, name


def test_requests_are_whole_and_grow_with_what_was_measured():
    assert resources.request({"seconds": 1, "host": 400e6}) == (1400, 10)
    assert resources.request({"seconds": 150.1, "host": 400.1e6}) == (1500, 11)
    assert resources.request({"seconds": 3600, "host": 10e9}) == (15_800, 240)
    assert resources.request(None) == resources.NOT_MEASURED


def test_what_was_not_measured_asks_for_the_most(checkout, monkeypatch):
    monkeypatch.setattr(resources, "PLACE", Path("measured.json"))
    resources.PLACE.write_text(json.dumps({"smoke": {"first": {"seconds": 600, "host": 1e9}}}))
    asked = {"first": (2300, 40), "part/second": resources.NOT_MEASURED, "part/third": resources.NOT_MEASURED}
    assert resources.requests("smoke") == resources.requests("smoke-seed-101") == asked
    assert set(resources.requests("gpu").values()) == {resources.NOT_MEASURED}


def test_the_longest_starts_first_and_before_it_what_nobody_measured(checkout, monkeypatch):
    monkeypatch.setattr(resources, "PLACE", Path("measured.json"))
    standard = {"first": {"seconds": 2}, "part/second": {"seconds": 30}, "part/third": {"seconds": 4}}
    resources.PLACE.write_text(json.dumps({"smoke": {"first": {"seconds": 7}}, "standard": standard}))
    assert resources.longest_first("standard") == ["part/second", "part/third", "first"]
    assert resources.longest_first("gpu") == resources.longest_first("standard")
    assert resources.longest_first("smoke") == ["part/second", "part/third", "first"]
    resources.PLACE.write_text(json.dumps({"smoke": {name: {"seconds": 1} for name in ("first", "part/second")}}))
    assert resources.longest_first("smoke")[0] == "part/third"


def test_measurements_are_those_of_the_runs_of_one_profile(checkout, monkeypatch):
    monkeypatch.setattr(resources, "PLACE", Path("measured.json"))
    resources.PLACE.write_text(json.dumps({"smoke": {"gone": {}}, "standard": {"first": {"seconds": 7}}}))
    with pytest.raises(SystemExit, match="first, part/second, part/third: not run .* `make book PROFILE=smoke`"):
        resources.main("smoke")
    run = {"seconds": 2.5, "peak_memory": {"host": 3, "device": None}, "device": "cpu"}
    for name in ("first", "part/second", "part/third"):
        publish_as_of_now(name)
        record = Path(f"_build/smoke/results/{name}.run.json")
        record.write_text(json.dumps(json.loads(record.read_text()) | run))
    resources.main("smoke")
    written = json.loads(resources.PLACE.read_text())
    assert written["standard"] == {"first": {"seconds": 7}}
    one = {"seconds": 2.5, "host": 3, "device": None, "on": "cpu"}
    assert written["smoke"] == {"first": one, "part/second": one, "part/third": one}
