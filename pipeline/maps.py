"""Sphinx extension: `` {map} `` draws which result rests on which, of one paper or of all, coloured by verdict.

The boxes and their order are `book/map.yaml`; every box is a link. A map may have one box for each of several papers.
"""

import posixpath
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from earlytime import claims
from results import SHAPES, Results, load_results
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

BOX, GAP = (150, 62), (14, 34)  # width and height, and the space between boxes, in pixels
MOST = 4  # boxes in a row
Boxes = dict[str, dict[str, Any]]


def load_maps(text: str) -> dict[str, Boxes]:
    """The boxes of every paper; **raises** `ValueError` for one that rests on none that is there before it."""
    maps = yaml.safe_load(text)
    for paper, boxes in maps.items():
        before: set[str] = set()
        for name, box in boxes.items():
            if unknown := sorted({*box.get("rests_on", [])} - before):
                raise ValueError(f"{paper}: {name}: rests on {unknown}, expected some of {sorted(before)}")
            before.add(name)
    return maps


def claims_of(paper: str, name: str, boxes: Boxes) -> list[claims.Claim]:
    """Those whose number begins with the box's name, and with no longer one's, or all of the paper that the box names;
    replaced ones are left out."""
    own = boxes[name].get("paper")
    belongs = lambda number: max((each for each in boxes if number.startswith(each)), key=len, default="")
    found = [claim for claim in claims.load_claims().values() if claim.paper == (own or paper) and not claim.superseded]
    return found if own else [claim for claim in found if belongs(claim.number) == name]


def verdict_of(counts: Counter) -> str:
    """One for all: the worst that there is, "not run" only where nothing else is."""
    return next((each for each in ("not reproduced", "inconclusive", "reproduced") if counts[each]), "not run")


def levels(boxes: Boxes) -> list[list[str]]:
    """The boxes by the longest chain that leads to them, in rows."""
    level: dict[str, int] = {}
    for name, box in boxes.items():
        level[name] = 1 + max((level[each] for each in box.get("rests_on", [])), default=-1)
    of_one_length = [[name for name in boxes if level[name] == at] for at in range(max(level.values()) + 1)]
    return [names[i : i + MOST] for names in of_one_length for i in range(0, len(names), MOST)]


def places(boxes: Boxes) -> tuple[dict[str, tuple[float, float]], float, float]:
    """The upper left corner of every box, and the size of the whole."""
    rows = levels(boxes)
    width = max(map(len, rows)) * (BOX[0] + GAP[0])
    found: dict[str, tuple[float, float]] = {}
    for i, row in enumerate(rows):
        first = (width - len(row) * (BOX[0] + GAP[0]) + GAP[0]) / 2
        found |= {name: (first + j * (BOX[0] + GAP[0]), i * (BOX[1] + GAP[1]) + 2.0) for j, name in enumerate(row)}
    return found, width, len(rows) * (BOX[1] + GAP[1]) - GAP[1] + 4.0


def drawing(paper: str, boxes: Boxes, results: Results, link) -> str:
    """The picture of one paper as SVG; `link` gives the address of what a box leads to."""
    at, width, height = places(boxes)
    lines = []
    for name, box in boxes.items():
        for other in box.get("rests_on", []):
            (x, y), (u, v) = at[name], at[other]
            x, u, v, middle = x + BOX[0] / 2, u + BOX[0] / 2, v + BOX[1], y - GAP[1] / 2
            lines.append(f'<path d="M{u:.0f} {v:.0f} C{u:.0f} {middle:.0f} {x:.0f} {middle:.0f} {x:.0f} {y:.0f}"/>')
    for name, box in boxes.items():
        x, y = at[name]
        found = [results.findings[claim.id] for claim in claims_of(paper, name, boxes)]
        count = Counter(finding.verdict for finding in found)
        kind = verdict_of(count).replace(" ", "-") if results.judged else "not-judged"
        counted = "  ".join(f"{SHAPES[verdict]} {count[verdict]}" for verdict in claims.VERDICTS if count[verdict])
        texts = {20: ("name", box.get("title", name)), 37: ("says", box["says"])}
        texts |= {54: ("counts", counted)} if results.judged else {}
        lines.append(
            f'<a href="{escape(link(box["to"]), quote=True)}" class="{kind}">'
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
            + "".join(
                f'<text class="{style}" x="{x + BOX[0] / 2:.0f}" y="{y + down:.0f}">{escape(text)}</text>'
                for down, (style, text) in texts.items()
            )
            + "</a>"
        )
    label = f"What rests on what in {paper}: an arrow leads from a result to those that rest on it."
    return (
        f'<div class="map"><svg role="group" aria-label="{escape(label, quote=True)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">{"".join(lines)}</svg></div>'
    )


class _Map(nodes.General, nodes.Element):
    """Drawn when all pages are known."""


class MapDirective(SphinxDirective):
    """Its argument is a paper as `book/map.yaml` calls it; without one, all are drawn under their names."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self):
        path = Path(self.env.srcdir, "book/map.yaml")
        self.env.note_dependency(str(path))
        maps = load_maps(path.read_text(encoding="utf-8"))
        papers = self.arguments or list(maps)
        found: list[nodes.Node] = []
        for paper in papers:
            if not self.arguments:
                found.append(nodes.paragraph("", "", nodes.strong("", paper)))
            found.append(_Map(paper=paper, boxes=maps[paper]))
        return found


def _draw(app, doctree, docname):
    here = app.builder.get_target_uri(docname)

    def link(to: str) -> str:
        page, anchor = (to, "") if to in app.env.all_docs else _target(app.env, to)
        if not page:
            logger.warning("map: no page or label %r", to, location=docname)
        address = posixpath.relpath(app.builder.get_target_uri(page or docname), posixpath.dirname(here) or ".")
        return address + (f"#{anchor}" if anchor else "")

    for node in list(doctree.findall(_Map)):
        svg = drawing(node["paper"], node["boxes"], load_results(), link)
        node.replace_self(nodes.raw("", svg, format="html"))


def _target(env, label: str) -> tuple[str, str]:
    """Page and anchor of a theorem."""
    proof = getattr(env, "proof_list", {}).get(label)
    return (proof["docname"], label) if proof else ("", "")


def setup(app):
    app.add_directive("map", MapDirective)
    app.connect("doctree-resolved", _draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
