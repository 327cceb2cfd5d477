"""Why a claim is not reproduced, and what would decide it."""

import numpy as np
import pytest
from current import pages_fingerprint
from earlytime import claims
from hypothesis import given, settings
from hypothesis import strategies as st
from reasons import load_profiles, seeds_to_decide, why

CLAIM = claims.Claim(
    "a-claim", "Hu et al. 2020", "Theorem 1", "It holds.", "part/first", "It.", {"at_most": 0.0}, {"num_seeds": 5}
)
SIZED = CLAIM._replace(requires={"num_seeds": 5, "dims": 128})
PROFILES = {"gpu": {"part/first": {"dims": [16, 256], "num_seeds": 20}}, "smoke": {"part/first": {"dims": [8]}}}
AROUND = [-0.2, -0.3, 0.1, -0.25, -0.1]
BELOW, ABOVE = [-0.2, -0.3, -0.25, -0.22, -0.28], [0.2, 0.3, 0.25, 0.22, 0.28]


def because(claim, cases, **sizes):
    return why(claims.judge(claim, {"cases": cases, "sizes": sizes, "reason": ""}), PROFILES)


def test_nothing_is_said_of_what_is_reproduced():
    assert because(CLAIM, {"": BELOW}) == ""


def test_intervals_on_both_sides_are_named_with_the_seeds_that_would_decide():
    one = because(CLAIM, {"": AROUND})
    assert one == (
        "The interval lies on both sides: [−0.346, 0.0463] around 0. "
        "If mean and spread stay, about 7 seeds would decide it."
    )
    two = because(CLAIM, {"erf": AROUND, "ReLU": BELOW, "tanh": np.array(AROUND) + 0.05})
    assert two.startswith(
        "2 of 3 intervals lie on both sides: erf [−0.346, 0.0463] around 0; tanh [−0.296, 0.0963] around 0. "
    )
    assert two.endswith("about 13 seeds would decide it.")


def test_more_seeds_need_not_decide():
    close = np.array(AROUND) + 0.149
    assert because(CLAIM, {"": close}).endswith("more than 1,000 seeds would be needed to decide it.")
    on_it = because(CLAIM, {"": [-1.0, 1.0, 0.0, -2.0, 2.0]})
    assert on_it.endswith("A mean lies on the bound, so that more seeds need not decide it.")


@settings(deadline=None)  # a busy machine
@given(
    st.lists(st.floats(-1, 1), min_size=5, max_size=8),
    st.sampled_from([{"at_most": 0.3}, {"at_least": -0.2}, {"at_least": -0.2, "at_most": 0.3}]),
)
def test_the_number_of_seeds_is_the_least_that_decides(values, criterion):
    case = claims.judge(CLAIM._replace(criterion=criterion), {"cases": {"": values}, "sizes": {}, "reason": ""}).cases[
        ""
    ]
    k = seeds_to_decide(case, criterion)
    if case.verdict == "inconclusive":
        assert k > len(values)
    elif len(values) > 2:
        assert k <= len(values) or np.std(values) < 1e-9
    if np.isfinite(k) and np.std(values) > 1e-3:
        assert _verdict_with(case, int(k), criterion) != "inconclusive"
        assert k == 2 or _verdict_with(case, int(k) - 1, criterion) == "inconclusive"


def _verdict_with(case, k, criterion):
    """The verdict on k values with the mean and the standard deviation of the case."""
    unit = np.arange(k) - (k - 1) / 2
    values = case.mean + unit / np.std(unit, ddof=1) * np.std(case.values, ddof=1)
    claim = CLAIM._replace(criterion=criterion, requires={})
    return claims.judge(claim, {"cases": {"": values}, "sizes": {}, "reason": ""}).verdict


def test_what_misses_is_named_and_what_is_known_is_added():
    known = CLAIM._replace(known="A wider network would decide it.")
    assert because(known, {"": ABOVE}) == (
        "The whole interval misses the criterion: [0.199, 0.301]. A wider network would decide it."
    )
    both = because(CLAIM, {"erf": BELOW, "ReLU": ABOVE, "tanh": AROUND})
    assert both == "1 of 3 cases miss the criterion: ReLU [0.199, 0.301]. Why is not known."


def test_the_worst_seed_is_named_where_the_claim_is_about_every_one():
    every = CLAIM._replace(seeds="every")
    assert because(every, {"": AROUND}) == "The worst seed misses the criterion: 0.100 at worst. Why is not known."
    both = because(every, {"erf": AROUND, "ReLU": ABOVE, "tanh": BELOW})
    assert both == "2 of 3 cases miss the criterion: erf 0.100 at worst; ReLU 0.300 at worst. Why is not known."


def test_a_caveat_says_that_more_seeds_do_not_help():
    caveat = CLAIM._replace(caveat="Anything meets it.")
    assert because(caveat, {"": BELOW}) == (
        "The criterion is met, and that decides nothing. Anything meets it. "
        "Another criterion would have to decide it, not more seeds."
    )
    assert "around 0" in because(caveat, {"": AROUND}) and "Anything meets it." in because(caveat, {"": AROUND})
    replaced = caveat._replace(superseded={"by": "other", "why": "It is too easy."})
    assert "Another criterion" not in because(replaced, {"": BELOW})


def test_a_size_that_is_missing_is_named_with_the_profile_that_has_it():
    few = because(SIZED, {"": BELOW[:4]}, dims=[128])
    assert few == "`num_seeds` is 4, and a verdict needs 5: the profile `gpu` has that."
    small = because(SIZED, {"": BELOW}, dims=[32, 64])
    assert small == "`dims` is 64, and a verdict needs 128: the profile `gpu` has that."
    large = SIZED._replace(requires={"num_seeds": 5, "dims": 512})
    assert because(large, {"": BELOW}, dims=[64]) == "`dims` is 64, and a verdict needs 512: no profile has that."


@pytest.mark.parametrize("reason", ["its notebook did not run", "Its notebook did not run"])
def test_a_recorded_reason_is_a_sentence(reason):
    finding = claims.judge(CLAIM, {"cases": {}, "sizes": {}, "reason": reason})
    assert why(finding, PROFILES) == "Its notebook did not run."


def test_the_profiles_are_those_of_the_pipeline():
    assert {"gpu", "smoke", "standard"} <= load_profiles().keys()
    assert load_profiles()["gpu"]["hu2020/figure_4"]["num_samples_looks"] == 10000


def test_pages_are_made_anew_when_any_profile_changes(checkout):
    before = pages_fingerprint("smoke")
    (checkout / "pipeline/profiles/gpu.yaml").write_text("first: {seed: 7}\n")
    assert pages_fingerprint("smoke") != before
