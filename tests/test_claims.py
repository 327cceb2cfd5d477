import json

import numpy as np
import pytest
from earlytime import claims
from earlytime._claim_files import Claim, collect
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

CLAIM = Claim(
    "x",
    "Hu et al. 2020",
    "Theorem 0",
    "statement",
    "hu2020/x",
    "measured",
    {"at_most": 1.0},
    {"num_seeds": 5, "dim": 64},
)
NARROW = np.array([-0.02, -0.01, 0, 0.01, 0.02])
AFTER_T = "hu2020-after-t-loss"

numbers = st.floats(-1e6, 1e6)
names = st.text(st.characters(codec="utf-8"), max_size=5)
values = st.lists(numbers, min_size=5, max_size=9)
cases = st.dictionaries(names, values, min_size=1, max_size=3)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


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


@pytest.mark.parametrize("seeds, dim, verdict", [(5, 64, "reproduced"), (4, 64, "not run"), (5, 63, "not run")])
def test_the_verdict_at_the_smallest_sizes(seeds, dim, verdict):
    assert judge({"a": [0.5] * seeds, "b": [0.5] * 9}, dim=dim).verdict == verdict


def test_the_worst_case_decides():
    good, bad, between = 0.5 + NARROW, 1.5 + NARROW, 1.0 + NARROW
    assert judge({"a": good, "b": good}).verdict == "reproduced"
    assert judge({"a": good, "b": between}).verdict == "inconclusive"
    assert judge({"a": good, "b": between, "c": bad}).verdict == "not reproduced"


@pytest.mark.parametrize(
    "criterion, values, verdict, worst",
    [
        ({"at_most": 1.0}, [0.1, 0.2, 0.3, 0.4, 1.0], "reproduced", 1.0),
        ({"at_most": 1.0}, [0.1, 0.2, 0.3, 0.4, 1.1], "not reproduced", 1.1),  # the mean's interval meets it
        ({"at_least": 1.0}, [1.0, 9.0, 9.0, 9.0, 9.0], "reproduced", 1.0),
        ({"at_least": 1.0}, [0.9, 9.0, 9.0, 9.0, 9.0], "not reproduced", 0.9),
        ({"at_least": -1.0, "at_most": 1.0}, [-1.2, 0.0, 0.0, 0.0, 1.1], "not reproduced", -1.2),
        ({"at_most": 0.0}, [0.0] * 5, "reproduced", 0.0),
    ],
)
def test_the_worst_seed_decides_where_the_claim_is_about_every_one(criterion, values, verdict, worst):
    every = CLAIM._replace(criterion=criterion, seeds="every")
    finding = judge({"a": values}, every)
    case = finding.cases["a"]
    assert finding.verdict == case.verdict == verdict
    assert (case.worst, case.low, case.high) == (worst, min(values), max(values))
    assert "every seed at" in finding._repr_markdown_() and f"| {worst:.4g} | {verdict} |" in finding._repr_markdown_()
    bad = [*values[1:], 9e9 if "at_most" in criterion else -9e9]
    assert judge({"a": values, "b": bad}, every).verdict == "not reproduced"


def test_a_caveat_keeps_a_claim_from_being_reproduced():
    claim = CLAIM._replace(caveat="anything meets it")
    assert judge({"a": 0.5 + NARROW}, claim).verdict == "inconclusive"
    assert judge({"a": 0.5 + NARROW}, claim).reason == "anything meets it"
    assert judge({"a": 1.5 + NARROW}, claim).verdict == "not reproduced"


def test_no_verdict_below_the_sizes_or_the_seeds():
    few = judge({"a": (0.5 + NARROW)[:4], "b": 0.5 + NARROW})
    assert few.verdict == "not run" and few.reason == "num_seeds = 4, a verdict needs 5"
    assert {case.verdict for case in few.cases.values()} == {"not run"}
    small = judge({"a": 0.5 + NARROW}, dim=[16, [32]])
    assert small.verdict == "not run" and "dim = 32" in small.reason


@settings(deadline=None)  # a busy machine
@given(cases, st.sampled_from(["mean", "every"]), numbers, st.randoms())
def test_the_order_of_the_seeds_changes_no_verdict(cases, seeds, bound, random):
    claim = CLAIM._replace(seeds=seeds, criterion={"at_most": bound})
    shuffled = {name: random.sample(values, len(values)) for name, values in cases.items()}
    first, second = judge(cases, claim), judge(shuffled, claim)
    assert first.verdict == second.verdict
    for name, case in first.cases.items():
        assert case._replace(values=()) == second.cases[name]._replace(values=())


@settings(deadline=None)  # a busy machine
@given(cases, st.dictionaries(names, plain, max_size=3))
def test_what_is_recorded_is_read_back_and_judged_the_same(tmp_path_factory, cases, sizes):
    path = tmp_path_factory.mktemp("round") / "results.json"
    sizes = sizes | {"dim": 50, "width": [256]}
    for claim_id in (AFTER_T, "liu2020-kernel-bound"):
        more = {"widths": [1024], "deep_widths": [256]} if "liu" in claim_id else {}
        finding = claims.record_claim(claim_id, cases, results_path=str(path), sizes=sizes | more)
        assert claims.read_results(path)[claim_id] == finding
        assert finding.sizes == sizes | more


@settings(deadline=None)  # a busy machine
@given(
    arrays.arrays(np.float32, st.integers(1, 3), elements=st.floats(-10, 10, width=32)), st.integers(-(2**31), 2**31)
)
def test_numpy_sizes_become_plain(array, integer):
    sizes = {"dim": np.int64(50), "width": 256, "rates": array, "pair": (np.int64(integer), {"a": np.float32(0.5)})}
    found = claims.record_claim(AFTER_T, NARROW, results_path="", sizes=sizes).sizes
    assert found == {"dim": 50, "width": 256, "rates": array.tolist(), "pair": [integer, {"a": 0.5}]}
    assert json.loads(json.dumps(found)) == found


def test_results_are_written_whole_and_added_to(tmp_path):
    path = tmp_path / "deep" / "deeper" / "results.json"
    sizes = {"dim": 50, "width": np.int64(256)}
    finding = claims.record_claim(AFTER_T, {"erf": 0.9 + NARROW}, results_path=str(path), sizes=sizes)
    assert finding.verdict == "reproduced" and "reproduced" in finding._repr_markdown_()
    claims.record_not_run("hu2020-images-cifar10", "no data here", results_path=str(path))
    found = claims.read_results(path)
    assert found[AFTER_T] == finding
    assert found["hu2020-images-cifar10"].verdict == "not run"
    assert found["hu2020-images-cifar10"].reason == "no data here"
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]
    assert json.loads(path.read_text())["claims"][AFTER_T]["cases"]["erf"] == list(0.9 + NARROW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"claims": {',
        '{"claims": {"no-such-claim": {"cases": {}, "sizes": {}, "reason": "none"}}}',
        '{"a": 1}',
    ],
)
def test_results_that_are_none_name_their_file(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results\.json: expected the results"):
        claims.read_results(tmp_path / "results.json")


def test_results_are_prepared_before_the_work(tmp_path):
    path = tmp_path / "results.json"
    claims.prepare_results(str(path))
    assert json.loads(path.read_text())["claims"] == {}
    claims.record_not_run("hu2020-images-cifar10", "no data here", results_path=str(path))
    claims.prepare_results(str(path))
    assert list(claims.read_results(path)) == ["hu2020-images-cifar10"]
    for bad in (tmp_path, tmp_path / "results.json" / "below"):
        with pytest.raises(ValueError, match="^results_path: "):
            claims.prepare_results(str(bad))
    with pytest.raises(ValueError, match="^reason: "):
        claims.record_not_run("hu2020-images-cifar10", "", results_path=str(path))


def test_what_a_cell_shows():
    mean, every = judge({"a": 0.5 + NARROW}), judge({"a": 0.5 + NARROW}, CLAIM._replace(seeds="every"))
    assert "| 95 % interval |" in mean._repr_markdown_() and "the whole interval at most" in mean._repr_markdown_()
    assert "| worst seed |" in every._repr_markdown_() and "every seed at most" in every._repr_markdown_()
    nothing = claims.judge(CLAIM, {"cases": {}, "sizes": {"dim": 1}, "reason": "no data"})
    assert "|" not in nothing._repr_markdown_() and "(no data)" in nothing._repr_markdown_()
    assert (nothing.reason, nothing.cases, nothing.sizes) == ("no data", {}, {"dim": 1})
    assert "()" not in mean._repr_markdown_()


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claims.prepare_results("")
    claims.record_claim(AFTER_T, NARROW, results_path="", sizes={"dim": 50, "width": 256})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, claim_id, values, sizes",
    [
        ("claim_id", "hu2020-theorem-9", NARROW, {}),
        ("sizes", AFTER_T, NARROW, {"dim": 50}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": "256"}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": None}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": []}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": [256, "many"]}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": {"a": 256}}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": True}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": 256, "activation": np.tanh}),
        ("sizes", AFTER_T, NARROW, {"dim": 50, "width": 256, "rate": [np.inf]}),
        ("values_per_seed", AFTER_T, NARROW * np.nan, {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, [0.1, np.nan, 0.2], {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, [], {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, NARROW[None], {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, {}, {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, ["0.1", "high"], {"dim": 50, "width": 256}),
        ("values_per_seed", AFTER_T, [[0.1], [0.2, 0.3]], {"dim": 50, "width": 256}),
    ],
)
def test_bad_records_are_named_and_leave_nothing(tmp_path, name, claim_id, values, sizes):
    path = tmp_path / "results.json"
    with pytest.raises(ValueError, match=f"^{name}: "):
        claims.record_claim(claim_id, values, results_path=str(path), sizes=sizes)
    assert not path.exists()


FIELDS = """
      number: Theorem 1
      statement: It holds.
      measured: The slope.
      criterion: {at_most: 0}
      requires: {num_seeds: 5}
"""
FILE = f"texts:\n  - &why Too wide.\nA. Author 2020:\n  part/first:\n    a-claim:{FIELDS}"


def test_a_file_is_nested_by_paper_notebook_and_claim():
    found = collect({"a.yaml": FILE + "      caveat: *why\n", "b.yaml": FILE.replace("a-claim", "other")})
    expected = Claim(
        "a-claim",
        "A. Author 2020",
        "Theorem 1",
        "It holds.",
        "part/first",
        "The slope.",
        {"at_most": 0},
        {"num_seeds": 5},
    )
    assert found == {"a-claim": expected._replace(caveat="Too wide."), "other": expected._replace(id="other")}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("statement: It holds.", "statemnt: It holds.", r"a\.yaml: a-claim: unknown fields \['statemnt'\]"),
        ("statement: It holds.", "", r"a\.yaml: a-claim: missing fields \['statement'\]"),
        ("statement: It holds.", "statement:", r"a\.yaml: a-claim: statement: expected a text"),
        ("statement: It holds.", "statement: 5", r"a\.yaml: a-claim: statement: expected a text"),
        ("measured: The slope.", "measured: a\n      caveat: ''", r"a\.yaml: a-claim: caveat: expected a text"),
        ("criterion: {at_most: 0}", "criterion: {at_mots: 0}", r"a\.yaml: a-claim: criterion: "),
        ("criterion: {at_most: 0}", "criterion: {at_most: none}", r"a\.yaml: a-claim: criterion: "),
        ("criterion: {at_most: 0}", "criterion: {}", r"a\.yaml: a-claim: criterion: "),
        ("criterion: {at_most: 0}", "criterion: {at_least: none, at_most: 0}", r"a\.yaml: a-claim: criterion: "),
        ("{num_seeds: 5}", "{dims: 5}", r"a\.yaml: a-claim: requires: "),
        ("measured: The slope.", "measured: The slope.\n      seeds: all", r"a\.yaml: a-claim: seeds: expected 'mean'"),
        (
            "measured: The slope.",
            "measured: a\n      superseded: {by: b}",
            r"a\.yaml: a-claim: superseded: expected by",
        ),
        (
            "measured: The slope.",
            "measured: a\n      superseded: {by: b, why: c}",
            "a-claim: superseded by 'b', which is no",
        ),
        (FIELDS, FIELDS + f"    a-claim:{FIELDS}", r"a\.yaml: .*line 5: a-claim is there twice"),
        (FIELDS, "", r"a\.yaml: a-claim: "),
        ("texts:", "Another paper:", r"a\.yaml: expected one paper"),
        (FILE, "", r"a\.yaml: expected one paper"),
        (FILE, "a: [", r"a\.yaml: expected one paper"),
    ],
)
def test_a_bad_file_is_named_with_its_claim(old, new, message):
    assert old in FILE
    with pytest.raises(ValueError, match=message):
        collect({"a.yaml": FILE.replace(old, new)})


def test_a_claim_in_two_files_is_named():
    with pytest.raises(ValueError, match=r"b\.yaml: a-claim: there is another"):
        collect({"a.yaml": FILE, "b.yaml": FILE})


def test_the_papers_that_the_book_is_about_come_first_and_the_others_by_their_names():
    papers = list(dict.fromkeys(claim.paper for claim in claims.load_claims().values()))
    assert [paper.split()[0] for paper in papers[:3]] == ["Hu", "Lee", "Liu"]
    assert papers[3:] == sorted(papers[3:])


def test_every_claim_of_the_files_is_complete():
    for claim in claims.load_claims().values():
        assert claim.requires["num_seeds"] >= 5
        assert claim.statement.endswith(".") and claim.measured.endswith(".")
        assert all(text == "" or text.endswith(".") for text in (claim.caveat, claim.known))
        assert claim.superseded is None or claim.superseded["why"].endswith(".")


def test_claims_about_every_seed():
    every = {claim.id for claim in claims.load_claims().values() if claim.seeds == "every"}
    assert every == {
        "frei2023-stays-low",
        "lee2019-closed-form",
        "lee2019-standard-equivalent",
        "liu2020-kernel-bound",
        "liu2020-pl-contraction-every",
        "liu2020-two-layer-closed-form",
        "xiao2022-network",
        "woodworth2020-limit",
        "woodworth2020-theorem-2",
        "liu2022-blocks",
    }
