"""The text that pages make of the results."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import measured
import pytest
from earlytime import claims
from measured import claim_text, claims_text, load_results, measured_text, run_with, status_text
from reasons import number

CLAIM = claims.Claim(
    "a-claim",
    "Hu et al. 2020",
    "Theorem 1",
    "It holds that $x = 1$.",
    "part/first",
    "The slope.",
    {"at_most": 0.0},
    {},
    known="ReLU is too wide.",
)
RECORD = {"cases": {"erf": [-1.0, -1.1, -0.9], "ReLU": [1.0, 1.1]}, "sizes": {"dims": [8, 16], "seed": 3}, "reason": ""}
RUN = {
    "profile": "standard",
    "seconds": 61.2,
    "seconds_compiling": 20.4,
    "programs": 12,
    "from_cache": 3,
    "peak_memory": {"host": 1_240_000_000, "device": None},
    "finished": "2026-01-02T03:04:05+00:00",
    "device": "cpu",
    "versions": {"jax": "1"},
}
OTHER = CLAIM._replace(id="other", notebook="not/run")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Returns a function that writes one notebook's results and reads them all."""

    def write(record, **run):
        (tmp_path / "part").mkdir(exist_ok=True)
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


def test_of_a_claim_about_every_seed_the_worst_is_shown(results):
    finding = results(RECORD).findings["a-claim"]
    finding = claims.judge(finding.claim._replace(seeds="every"), RECORD)
    assert measured_text(finding, "ReLU") == "1.10 in the worst seed"
    text = claim_text(finding, judged=True)
    assert "| case | mean | worst seed | verdict |" in text and "every seed at most 0" in text
    assert "| ReLU | 1.05 | 1.10 | [✗ not reproduced]{.verdict .not-reproduced} |" in text


def test_a_claim_shows_its_verdicts_and_every_value(results):
    text = claim_text(results(RECORD).findings["a-claim"], judged=True)
    assert text.startswith("(claim-a-claim)=\n#### Theorem 1 [✗ not reproduced]{.verdict .not-reproduced}")
    assert "$x = 1$" in text and "at most 0" in text
    assert text.index("[**Run with:** `seed` = `3`, `dims` = `[8, 16]`]{.run-with}") < text.index("dropdown")
    assert "**Why not reproduced:** 1 of 2 cases miss the criterion: ReLU [0.415, 1.69]. ReLU is too wide." in text
    assert "| erf | −1.00 | [−1.25, −0.752] | [✓ reproduced]{.verdict .reproduced} |" in text
    assert "| ReLU | 1.00 | 1.10 |  |" in text


def test_everything_that_was_recorded_is_shown_with_the_seeds_first():
    sizes = {"dims": [8, 16], "num_seeds": 5, "rates": {"erf": 0.5, "more": [1.0, None]}, "seed": 0}
    assert run_with(sizes) == (
        "`seed` = `0`, `num_seeds` = `5`, `dims` = `[8, 16]`, `rates` = `{erf: 0.5, more: [1.0, none]}`"
    )


def test_counts_are_links_to_the_lists_of_their_claims(results):
    text = claims_text(results(RECORD), Path())
    failed, absent = "verdict-hu-et-al-2020-not-reproduced", "verdict-hu-et-al-2020-not-run"
    assert "|  | Hu et al. 2020 |\n| --- | --- |\n| [✓ reproduced]{.verdict .reproduced} | 0 |\n" in text
    assert f"| [✗ not reproduced]{{.verdict .not-reproduced}} | {{ref}}`1 <{failed}>` |" in text
    assert "| [≈ inconclusive]{.verdict .inconclusive} | 0 |\n" in text
    assert f"| [○ not run]{{.verdict .not-run}} | {{ref}}`1 <{absent}>` |" in text
    why = "1 of 2 cases miss the criterion: ReLU [0.415, 1.69]. ReLU is too wide."
    assert f"({failed})=\n### Hu et al. 2020: not reproduced\n\n- {{ref}}`Theorem 1 <claim-a-claim>`: {why}" in text
    assert "### Hu et al. 2020: not run\n\n- {ref}`Theorem 1 <claim-other>`: Its notebook did not run." in text
    assert "### Hu et al. 2020: reproduced" not in text and "### Hu et al. 2020: inconclusive" not in text


def test_counts_add_up_to_all_claims(results):
    text = claims_text(results(RECORD | {"cases": {"erf": [-1.0, -1.1]}}), Path())
    assert "{.verdict .reproduced} | {ref}`1 <verdict-hu-et-al-2020-reproduced>` |" in text
    assert "{.verdict .not-reproduced} | 0 |" in text and "{.verdict .not-run} | {ref}`1 <" in text
    assert "### Hu et al. 2020: reproduced\n\n{ref}`Theorem 1 <claim-a-claim>`\n" in text
    assert "**Why reproduced" not in text


def test_smoke_gives_no_verdicts(results):
    text = claims_text(results(RECORD, profile="smoke"), Path())
    assert "{.verdict" not in text and measured.SMOKE in text and "−1.00" in text
    assert "{ref}" not in text and "**Why not reproduced" not in text
    assert "`dims` = `[8, 16]`" in text


def test_a_claim_without_a_record_is_missing_only_where_its_notebook_ran(results):
    assert results(None).missing == ["a-claim"]


@pytest.mark.parametrize(
    "record, profile, warned",
    [
        (RECORD, "standard", ""),
        (RECORD | {"sizes": {}}, "standard", "without the sizes"),
        (RECORD | {"sizes": {}}, "smoke", "without the sizes"),
        ({"cases": {}, "sizes": {}, "reason": "no data"}, "standard", ""),
        (None, "standard", "recorded nothing for it"),
    ],
)
def test_what_is_missing_is_a_warning(results, monkeypatch, record, profile, warned):
    monkeypatch.setattr(claims, "load_claims", lambda: {CLAIM.id: CLAIM})
    found, messages = results(record, profile=profile), []
    monkeypatch.setattr(measured, "load_results", lambda: found)
    monkeypatch.setattr(measured.logger, "warning", lambda text, *values: messages.append(text % values))
    measured._check(None, SimpleNamespace(html_theme_options={}))
    assert len(messages) == bool(warned) and all(warned in message for message in messages)


def test_a_superseded_criterion_stays_with_its_reason(results):
    finding = results(RECORD).findings["a-claim"]
    old = finding._replace(claim=CLAIM._replace(superseded={"by": "other", "why": "Too wide."}))
    assert "{ref}`Theorem 1 <claim-other>` replaces it.** Too wide." in claim_text(old, judged=True)


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
