"""The text that pages make of the results."""

import json
import math
from pathlib import Path

import measured
import pytest
from earlytime import claims
from measured import claim_text, claims_text, load_results, measured_text, number, status_text

CLAIM = claims.Claim(
    "a-claim", "Hu2020", "Theorem 1", "It holds that $x = 1$.", "part/first", "The slope.", {"at_most": 0.0}, {}
)
RECORD = {"cases": {"erf": [-1.0, -1.1, -0.9], "ReLU": [1.0, 1.1]}, "sizes": {"dim": [8, 16]}, "reason": ""}
RUN = {
    "profile": "standard",
    "seconds": 61.2,
    "finished": "2026-01-02T03:04:05+00:00",
    "device": "cpu",
    "versions": {"jax": "1"},
}
OTHER = CLAIM._replace(id="other", notebook="not/run")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Returns a function that writes one notebook's results and reads them all."""

    def write(record, **run):
        (tmp_path / "part").mkdir()
        found = {} if record is None else {CLAIM.id: record}
        (tmp_path / "part/first.json").write_text(json.dumps({"claims": found}))
        (tmp_path / "part/first.run.json").write_text(json.dumps(RUN | run))
        return load_results.__wrapped__()

    monkeypatch.setenv("EARLYTIME_RESULTS", str(tmp_path))
    monkeypatch.setattr(claims, "load_claims", lambda: {claim.id: claim for claim in (CLAIM, OTHER)})
    return write


@pytest.mark.parametrize(
    "value, text",
    [(0.0231, "0.0231"), (-0.25, "−0.250"), (123.4, "123"), (1e-5, "1.00e-05"), (0.0, "0.00"), (-math.inf, "−∞")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_a_measured_number_is_mean_and_interval(results):
    finding = results(RECORD).findings["a-claim"]
    assert measured_text(finding, "erf") == "−1.00 [−1.25, −0.752]"
    with pytest.raises(ValueError, match="case"):
        measured_text(finding, "")
    with pytest.raises(ValueError, match="case"):
        measured_text(finding, "tanh")


def test_a_claim_shows_its_verdicts_and_every_value(results):
    text = claim_text(results(RECORD).findings["a-claim"], judged=True)
    assert text.startswith("(claim-a-claim)=\n#### Theorem 1 [✗ not reproduced]{.verdict .not-reproduced}")
    assert "$x = 1$" in text and "at most 0" in text and "`dim` = [8, 16]" in text
    assert "| erf | −1.00 | [−1.25, −0.752] | [✓ reproduced]{.verdict .reproduced} |" in text
    assert "| ReLU | 1.00 | 1.10 |  |" in text


def test_counts_and_a_claim_that_did_not_run(results):
    text = claims_text(results(RECORD), Path())
    assert "| Hu et al. 2020 | 0 | 1 | 0 | 1 |" in text
    assert "**Why not run:** its notebook did not run" in text


def test_smoke_gives_no_verdicts(results):
    text = claims_text(results(RECORD, profile="smoke"), Path())
    assert "{.verdict" not in text and measured.SMOKE in text and "−1.00" in text


def test_a_claim_without_a_record_is_missing_only_where_its_notebook_ran(results):
    assert results(None).missing == ["a-claim"]


def test_a_superseded_criterion_stays_with_its_reason(results):
    finding = results(RECORD).findings["a-claim"]
    old = finding._replace(claim=CLAIM._replace(superseded={"by": "other", "why": "Too wide."}))
    assert "{ref}`Theorem 1 <claim-other>` replaces it.** Too wide." in claim_text(old, judged=True)


def test_status_tells_time_device_and_versions(results):
    text = status_text(results(RECORD), Path())
    assert "| `part/first` | 61 s | 2026-01-02 03:04:05 UTC | standard | cpu | jax 1 |" in text
