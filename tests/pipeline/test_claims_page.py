"""The table of all claims: what a row says."""

import re

import pytest
from claims_page import counts, datatables, head_text, record_text
from earlytime import claims
from forest import forest
from results import SMOKE, run_with
from some_results import CLAIM, RECORD, RUN


def test_a_record_has_everything_that_was_recorded(results):
    text = record_text(results(RECORD).findings["a-claim"], {}, judged=True)
    assert text.startswith("**Measured:** The slope.\\\n**Criterion:** the whole interval at most 0")
    assert f"[**Run with:** {run_with({'seed': 3, 'dims': [8, 16]})}]{{.run-with}}" in text
    assert "**Why not reproduced:** 1 of 2 cases miss the criterion: ReLU [0.415, 1.69]. ReLU is too wide." in text
    assert "| erf | −1.00 | [−1.25, −0.752] | [✓ reproduced]{.verdict .reproduced} |" in text
    assert text.endswith("**Every seed's value:**\\\nerf: −1.00, −1.10, −0.900\\\nReLU: 1.00, 1.10")


def test_a_record_shows_other_runs(results):
    finding = results(RECORD).findings["a-claim"]
    other = claims.judge(CLAIM, RECORD | {"cases": {"erf": [-2.0, -2.1, -1.9]}})
    text = record_text(finding, {"seed 101": other}, judged=True)
    assert text.endswith("**Seed 101:**\n\n" + text.partition("**Seed 101:**\n\n")[2])
    assert "| erf | −2.00 | [−2.25, −1.75] | [✓ reproduced]{.verdict .reproduced} |" in text


def test_of_a_claim_about_every_seed_the_worst_is_shown(results):
    finding = results(RECORD).findings["a-claim"]
    finding = claims.judge(finding.claim._replace(seeds="every"), RECORD)
    text = record_text(finding, {}, judged=True)
    assert "| case | mean | worst seed | verdict |" in text and "every seed at most 0" in text
    assert "| ReLU | 1.05 | 1.10 | [✗ not reproduced]{.verdict .not-reproduced} |" in text


def test_a_superseded_criterion_stays_with_its_reason(results):
    finding = results(RECORD).findings["a-claim"]
    old = finding._replace(claim=CLAIM._replace(superseded={"by": "other", "why": "Too wide."}))
    assert "{ref}`Theorem 1 <claim-other>` replaces it.** Too wide." in record_text(old, {}, judged=True)


def test_counts_add_up_to_all_claims(results):
    found = results(RECORD)
    assert head_text(found) == counts(found.findings.values())
    heads = re.findall(r"\{\.verdict \.([\w-]+)\}", head_text(found).splitlines()[0])
    assert heads == ["reproduced", "not-reproduced", "inconclusive", "not-run"]
    assert f"| {CLAIM.paper} | 0 | 1 | 0 | 1 |" in head_text(found)


def test_smoke_gives_no_verdicts(results):
    found = results(RECORD, profile="smoke")
    assert SMOKE in head_text(found) and "{.verdict" not in head_text(found)
    text = record_text(found.findings["a-claim"], {}, judged=False)
    assert "{.verdict" not in text and "−1.00" in text and "**Why not reproduced" not in text


def test_one_run_with_sizes_of_smoke_is_enough_for_no_verdicts(results):
    found = results(RECORD)
    mixed = found._replace(runs=found.runs | {"other": RUN | {"profile": "smoke"}})
    assert found.judged and not mixed.judged and SMOKE in head_text(mixed)


def test_what_the_drawing_says_in_words_is_what_was_measured(results):
    drawn = forest(results(RECORD).findings["a-claim"])
    said = re.search(r'aria-label="([^"]+)"', drawn)[1]
    assert said == "erf: −1.00 [−1.25, −0.752]; ReLU: 1.05 [0.415, 1.69]. Criterion: the whole interval at most 0."
    assert drawn.count("<circle") == 2 and drawn.count("<title>") == 2


@pytest.mark.parametrize("criterion", [{"at_most": 0.0}, {"at_least": 0.0}, {"at_least": -0.5, "at_most": 0.5}])
def test_what_is_drawn_on_the_shaded_side_meets_the_criterion(criterion):
    claim = CLAIM._replace(criterion=criterion)
    finding = claims.judge(claim, {"cases": {"a": [-1.0], "b": [0.25], "c": [1.0]}, "sizes": {}, "reason": ""})
    drawn = forest(finding)
    start, width = (float(re.search(rf'class="meets".*?{name}="([\d.]+)"', drawn)[1]) for name in ("x", "width"))
    for (value,), x in zip([(-1.0,), (0.25,), (1.0,)], map(float, re.findall(r'cx="([\d.]+)"', drawn)), strict=True):
        meets = criterion.get("at_least", value) <= value <= criterion.get("at_most", value)
        assert (start <= x <= start + width) == meets


def test_an_interval_without_width_or_end_is_drawn_inside():
    record = {"cases": {"one": [0.0], "two": [0.0, 0.0]}, "sizes": {}, "reason": ""}
    drawn = forest(claims.judge(CLAIM, record))
    numbers = [float(text) for text in re.findall(r'(?:x1|x2|cx)="([^"]+)"', drawn)]
    assert numbers and all(0 <= number <= 210 for number in numbers)


def test_other_runs_are_drawn_below(results):
    finding = results(RECORD).findings["a-claim"]
    drawn = forest(finding, {"seed 101": finding})
    assert drawn.count(" other") == 2 and "erf, seed 101: −1.00" in drawn


def test_the_library_of_the_table_is_a_script_without_exports():
    script = datatables()
    assert script.count("window.DataTable = ") == 1 and not re.search(r"\bexport\s*\{", script)
