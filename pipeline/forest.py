"""A claim's intervals against its criterion, drawn on one small axis as SVG; its colours are the stylesheet's."""

import math
from collections.abc import Mapping
from html import escape
from itertools import pairwise

from earlytime import claims
from reasons import bound, interval, number

WIDTH, LINE, AXIS = 210, 8, 14  # pixels
MARGIN = 6
LABEL = 6.5  # pixels, a character of the axis at most


def scale(claim: claims.Claim, cases: list[claims.Case]) -> tuple[float, float]:
    """The ends of the axis: a little beyond all intervals, means and bounds that are finite."""
    values = [*claim.criterion.values(), *(value for case in cases for value in (case.low, case.high, case.mean))]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    beyond = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    return low - beyond, high + beyond


def forest(finding: claims.Finding, others: Mapping[str, claims.Finding] | None = None) -> str:
    """The drawing: a line per case, as long as its interval, with a dot at its mean; then other runs, paler.

    What is shaded meets the criterion.
    """
    runs = {"": finding, **(others or {})}
    drawn = [(run, name, case) for run, found in runs.items() for name, case in found.cases.items()]
    claim, height = finding.claim, LINE * len(drawn) + MARGIN + AXIS
    low, high = scale(claim, [case for _, _, case in drawn])
    at = lambda value: MARGIN + (WIDTH - 2 * MARGIN) * (min(max(value, low), high) - low) / (high - low)
    left, right = (at(claim.criterion.get(kind, end)) for kind, end in (("at_least", -math.inf), ("at_most", math.inf)))
    lines = [f'<rect class="meets" x="{left:.1f}" y="0" width="{right - left:.1f}" height="{height - AXIS}"/>']
    for i, (run, name, case) in enumerate(drawn):
        y = MARGIN / 2 + LINE * (i + 0.5)
        kind = f"case {case.verdict.replace(' ', '-')}{' other' * bool(run)}"
        lines.append(
            f'<g class="{kind}"><title>{escape(words(run, name, case))}</title>'
            f'<line x1="{at(case.low):.1f}" x2="{at(case.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle cx="{at(case.mean):.1f}" cy="{y:.1f}" r="2.5"/></g>'
        )
    lines.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{height - AXIS}" y2="{height - AXIS}"/>')
    lines += [
        f'<line class="bound" x1="{at(limit):.1f}" x2="{at(limit):.1f}" y1="0" y2="{height - AXIS}"/>'
        for limit in claim.criterion.values()
    ]
    lines += [
        f'<text x="{x:.1f}" y="{height - 3}" text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in _labels({limit: at(limit) for limit in claim.criterion.values()})
    ]
    said = "; ".join(words(*each) for each in drawn)
    label = escape(f"{said}. Criterion: {claims.describe_criterion(claim)}.", quote=True)
    return (
        f'<svg class="forest" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">{"".join(lines)}</svg>'
    )


def words(run: str, name: str, case: claims.Case) -> str:
    what = ", ".join(part for part in (name, run) if part)
    return f"{what + ': ' if what else ''}{number(case.mean)} {interval(case)}"


def _labels(places: Mapping[float, float]) -> list[tuple[float, str, str]]:
    """Position, anchor and text of the bounds' labels, inside the drawing; two that would touch become one."""
    labels = []
    for limit, x in sorted(places.items()):
        half = LABEL * len(bound(limit)) / 2
        labels.append((min(max(x, half), WIDTH - half), "middle", bound(limit)))
    for (x, _, text), (other, _, last) in pairwise(list(labels)):
        if other - x < LABEL * (len(text) + len(last) + 1) / 2:
            return [((x + other) / 2, "middle", f"{text} … {last}")]
    return labels
