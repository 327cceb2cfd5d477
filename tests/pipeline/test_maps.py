"""The picture of what rests on what."""

import re
from collections import Counter
from pathlib import Path

import maps
import pytest
from earlytime import claims
from results import Results

TEXT = (Path(__file__).parents[2] / "book/map.yaml").read_text()
MAPS = maps.load_maps(TEXT)


def findings(verdict):
    return {claim.id: claims.Finding(claim, verdict, "", {}, {}) for claim in claims.load_claims().values()}


def test_every_claim_colours_one_box():
    of_boxes = {(paper, name): maps.claims_of(paper, name, boxes) for paper, boxes in MAPS.items() for name in boxes}
    drawn = Counter(claim.id for found in of_boxes.values() for claim in found)
    assert drawn == Counter(claim.id for claim in claims.load_claims().values() if not claim.superseded)
    assert all(of_boxes.values())


def test_a_box_is_below_all_that_it_rests_on_and_beside_no_other():
    for boxes in MAPS.values():
        at, width, height = maps.places(boxes)
        for name, box in boxes.items():
            assert all(at[other][1] < at[name][1] for other in box.get("rests_on", []))
            assert 0 <= at[name][0] <= width - maps.BOX[0] and at[name][1] <= height - maps.BOX[1]
        corners = sorted((y, x) for x, y in at.values())
        assert all(b[0] > a[0] or b[1] >= a[1] + maps.BOX[0] for a, b in zip(corners, corners[1:], strict=False))


def test_what_rests_on_nothing_that_is_there_is_refused():
    with pytest.raises(ValueError, match=r"A paper: b: rests on \['c'\]"):
        maps.load_maps("A paper: {a: {says: x, to: y}, b: {says: x, to: y, rests_on: [a, c]}}")


def test_a_box_has_the_worst_verdict_of_its_claims_and_leads_on():
    (paper, boxes) = next(iter(MAPS.items()))
    found = findings("reproduced")
    found["hu2020-claim-3-1-pairs"] = found["hu2020-claim-3-1-pairs"]._replace(verdict="inconclusive")
    svg = maps.drawing(paper, boxes, Results(found, {}, [], {}), lambda to: f"page#{to}")
    first, *others = re.findall(r'<a href="([^"]+)" class="([^"]+)">.*?</a>', svg)
    assert first == ("page#hu2020-claim-3-1", "inconclusive") and {kind for _, kind in others} == {"reproduced"}
    assert "✓ 1  ≈ 1" in svg and len(others) == len(boxes) - 1
    assert svg.count("<path") == sum(len(box.get("rests_on", [])) for box in boxes.values())


def test_smoke_colours_nothing():
    (paper, boxes) = next(iter(MAPS.items()))
    results = Results(findings("not reproduced"), {"one": {"profile": "smoke"}}, [], {})
    svg = maps.drawing(paper, boxes, results, str)
    assert set(re.findall(r'<a href="[^"]+" class="([^"]+)">', svg)) == {"not-judged"} and "✗" not in svg
