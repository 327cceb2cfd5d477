"""The same notebooks with other seeds."""

import json
from pathlib import Path

import pytest
from fingerprint import load_profile
from stability import compare
from tiny_checkout import output_of, ran, snakemake


def test_a_profile_with_another_seed(checkout):
    Path("pipeline/profiles/smoke.yaml").write_text("first: {seed: 3, size: 2}\n")
    given = load_profile("smoke-seed-101")
    assert given["first"] == {"seed": 101, "size": 2} and given["part/second"] == {"seed": 101}
    with pytest.raises(ValueError, match=r"^profile: expected one of .*, got 'huge-seed-101'"):
        load_profile("huge-seed-101")


def test_its_runs_are_kept_beside_the_first(built):
    code, printed = output_of(snakemake("runs", profile="smoke-seed-101"))
    assert code == 0 and ran(printed) == {"first", "part/second", "part/third"}, printed
    recorded = lambda profile: json.loads(Path(f"_build/{profile}/results/first.json").read_text())["claims"]
    assert recorded("smoke-seed-101") == {"first": 101} and recorded("smoke") == {"first": 0}
    code, printed = output_of(snakemake("runs", profile="smoke-seed-101"))
    assert code == 0 and not ran(printed)


def test_verdicts_that_move_are_named():
    first = {"a": "reproduced", "b": "reproduced", "c": "inconclusive", "d": "reproduced"}
    others = {101: first | {"b": "inconclusive"}, 202: {"a": "reproduced", "b": "reproduced", "c": "reproduced"}}
    lines, share = compare(first, others)
    assert lines == [
        "b: reproduced, but inconclusive (seed 101)",
        "c: inconclusive, but reproduced (seed 202)",
    ]
    assert share == 5 / 7
