"""What the pages read of the results, and the words for it."""

import json
import math
from types import SimpleNamespace

import measured
import pytest
from earlytime import claims
from markdown_it import MarkdownIt
from reasons import number
from results import measured_text, plain, run_with
from some_results import CLAIM, RECORD, RUN


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


def test_everything_that_was_recorded_is_shown_with_the_seeds_first():
    sizes = {"dims": [8, 16], "num_seeds": 5, "rates": {"erf": 0.5, "more": [1.0, None]}, "seed": 0}
    assert run_with(sizes) == plain("seed = 0, num_seeds = 5, dims = [8, 16], rates = {erf: 0.5, more: [1.0, none]}")


def test_plain_text_is_shown_as_it_is():
    text = "num_seeds = 5, *[8, 16](x) `y` <b> $z$ | {a: -1.5} & # 1\\2"
    tokens = MarkdownIt().parseInline(plain(text))[0].children
    assert "".join(token.content for token in tokens) == text and {token.type for token in tokens} == {"text"}


def test_a_claim_without_a_record_is_missing_only_where_its_notebook_ran(results):
    assert results(None).missing == ["a-claim"]


def test_other_runs_are_read_where_they_measured_something(results, tmp_path, monkeypatch):
    for label, record in {"measured": RECORD, "not": {"cases": {}, "sizes": {}, "reason": "no data"}}.items():
        (tmp_path / label / "part").mkdir(parents=True)
        (tmp_path / label / "part/first.json").write_text(json.dumps({"claims": {CLAIM.id: record}}))
        (tmp_path / label / "part/first.run.json").write_text(json.dumps(RUN))
    folders = {label: str(tmp_path / label) for label in ("measured", "not")}
    monkeypatch.setenv("EARLYTIME_OTHER_RESULTS", json.dumps(folders))
    (tmp_path / "first").mkdir()
    monkeypatch.setenv("EARLYTIME_RESULTS", str(tmp_path / "first"))
    found = results(RECORD)
    assert found.others.keys() == {"measured"}
    assert found.others["measured"]["a-claim"].verdict == "not reproduced"


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
