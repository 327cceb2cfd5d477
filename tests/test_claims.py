import json

import numpy as np
import pytest
from earlytime import claims

CLAIM = claims.Claim(
    "x", "Hu2020", "Theorem 0", "statement", "hu2020/x", "measured", {"at_most": 1.0}, {"num_seeds": 5, "dim": 64}
)
NARROW = np.array([-0.02, -0.01, 0, 0.01, 0.02])


def judge(cases, claim=CLAIM, **sizes):
    record = {"cases": cases, "sizes": {"dim": [32, 64]} | sizes, "reason": ""}
    return claims.judge(claim, record)


@pytest.mark.parametrize(
    "criterion, center, verdict",
    [
        ({"at_most": 1.0}, 0.5, "reproduced"),
        ({"at_most": 1.0}, 1.5, "not reproduced"),
        ({"at_most": 1.0}, 1.0, "inconclusive"),
        ({"at_least": 1.0}, 0.5, "not reproduced"),
        ({"at_least": 1.0}, 1.5, "reproduced"),
        ({"at_least": 1.0}, 1.01, "inconclusive"),
        ({"at_least": -1.0, "at_most": 1.0}, 0.0, "reproduced"),
        ({"at_least": -1.0, "at_most": 1.0}, -1.5, "not reproduced"),
        ({"at_least": -1.0, "at_most": 1.0}, 1.5, "not reproduced"),
        ({"at_least": -1.0, "at_most": 1.0}, -1.0, "inconclusive"),
    ],
)
def test_the_whole_interval_decides(criterion, center, verdict):
    finding = judge({"a": center + NARROW}, CLAIM._replace(criterion=criterion))
    assert finding.verdict == finding.cases["a"].verdict == verdict
    assert finding.cases["a"].low < center < finding.cases["a"].high


def test_the_worst_case_decides():
    good, bad, between = 0.5 + NARROW, 1.5 + NARROW, 1.0 + NARROW
    assert judge({"a": good, "b": good}).verdict == "reproduced"
    assert judge({"a": good, "b": between}).verdict == "inconclusive"
    assert judge({"a": good, "b": between, "c": bad}).verdict == "not reproduced"


def test_a_caveat_keeps_a_claim_from_being_reproduced():
    claim = CLAIM._replace(caveat="anything meets it")
    assert judge({"a": 0.5 + NARROW}, claim).verdict == "inconclusive"
    assert judge({"a": 0.5 + NARROW}, claim).reason == "anything meets it"
    assert judge({"a": 1.5 + NARROW}, claim).verdict == "not reproduced"


def test_no_verdict_below_the_sizes_or_the_seeds():
    few = judge({"a": (0.5 + NARROW)[:4], "b": 0.5 + NARROW})
    assert few.verdict == "not run" and few.reason == "num_seeds = 4, a verdict needs 5"
    assert {case.verdict for case in few.cases.values()} == {"not run"}
    small = judge({"a": 0.5 + NARROW}, dim=[16, 32])
    assert small.verdict == "not run" and "dim = 32" in small.reason


def test_results_are_written_whole_and_added_to(tmp_path):
    path = tmp_path / "deep" / "results.json"
    claim_id = "hu2020-after-t-loss"
    sizes = {"dim": 50, "width": np.int64(256)}
    finding = claims.record_claim(claim_id, {"erf": 0.9 + NARROW}, results_path=str(path), sizes=sizes)
    assert finding.verdict == "reproduced" and "reproduced" in finding._repr_markdown_()
    claims.record_not_run("hu2020-images-cifar10", "no data here", results_path=str(path))
    found = claims.read_results(path)
    assert found[claim_id] == finding
    assert found["hu2020-images-cifar10"].verdict == "not run"
    assert found["hu2020-images-cifar10"].reason == "no data here"
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]
    assert json.loads(path.read_text())["claims"][claim_id]["cases"]["erf"] == list(0.9 + NARROW)


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claims.record_claim("hu2020-after-t-loss", NARROW, results_path="", sizes={"dim": 50, "width": 256})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, claim_id, values, sizes",
    [
        ("claim_id", "hu2020-theorem-9", NARROW, {}),
        ("sizes", "hu2020-after-t-loss", NARROW, {"dim": 50}),
        ("values_per_seed", "hu2020-after-t-loss", NARROW * np.nan, {"dim": 50, "width": 256}),
        ("values_per_seed", "hu2020-after-t-loss", NARROW[None], {"dim": 50, "width": 256}),
        ("values_per_seed", "hu2020-after-t-loss", {}, {"dim": 50, "width": 256}),
    ],
)
def test_bad_records_are_named_and_leave_nothing(tmp_path, name, claim_id, values, sizes):
    path = tmp_path / "results.json"
    with pytest.raises(ValueError, match=f"^{name}: "):
        claims.record_claim(claim_id, values, results_path=str(path), sizes=sizes)
    assert not path.exists()


def test_every_claim_of_the_file_is_complete():
    loaded = claims.load_claims()
    for claim in loaded.values():
        assert claim.criterion and set(claim.criterion) <= {"at_most", "at_least"}
        assert claim.requires["num_seeds"] >= 5
        assert claim.statement.endswith(".") and claim.measured.endswith(".")
        assert claim.superseded is None or claim.superseded["by"] in loaded and claim.superseded["why"]
