"""Sphinx extension: pages show what the notebooks measured, and a missing number is a warning.

The role `` {measured}`claim-id` `` (or `claim-id:case`) gives the mean and 95 % interval, the directive
`{claims}` gathers every claim with its verdict, and `{run-status}` lists how the notebooks ran. All three
read the folder named by the environment variable `EARLYTIME_RESULTS`.
"""

import functools
import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from earlytime import claims
from sphinx.addnodes import pending_xref
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)

PAPERS = {"Hu2020": "Hu et al. 2020", "Lee2019": "Lee et al. 2019", "Liu2020": "Liu et al. 2020"}
SHAPES = dict(zip(claims.VERDICTS, "✓✗≈○", strict=True))
SMOKE = "This copy was built with the smoke profile: its sizes are far too small for any verdict."
NOT_IN_PROFILE = "its notebook did not run"


class Results(NamedTuple):
    """What the notebooks of one profile left behind: findings by claim, records of the runs by notebook."""

    findings: dict[str, claims.Finding]
    runs: dict[str, dict]
    missing: list[str]

    @property
    def judged(self) -> bool:
        return all(run["profile"] != "smoke" for run in self.runs.values())


@functools.cache
def load_results() -> Results:
    """Read all results under `EARLYTIME_RESULTS` and judge every claim of `claims.yaml`."""
    try:
        folder = Path(os.environ["EARLYTIME_RESULTS"])
    except KeyError:
        raise ExtensionError("EARLYTIME_RESULTS is not set: build with `make book`") from None
    runs = {
        path.relative_to(folder).as_posix().removesuffix(".run.json"): json.loads(path.read_text())
        for path in sorted(folder.rglob("*.run.json"))
    }
    found = {}
    for notebook in runs:
        found |= claims.read_results(folder / f"{notebook}.json")
    findings = {
        claim.id: found.get(claim.id) or claims.Finding(claim, "not run", NOT_IN_PROFILE, {}, {})
        for claim in claims.load_claims().values()
    }
    missing = [name for name, finding in findings.items() if name not in found and finding.claim.notebook in runs]
    return Results(findings, runs, missing)


def number(value: float) -> str:
    """Three significant digits."""
    text = f"{abs(value):#.3g}".removesuffix(".").replace("inf", "∞")
    return f"−{text}" if value < 0 else text


def interval(case) -> str:
    return f"[{number(case.low)}, {number(case.high)}]"


def measured_text(finding: claims.Finding, case_name: str) -> str:
    """Mean and interval of one case; **raises** `ValueError` where that does not say which."""
    if not finding.cases:
        return "not run"
    if not case_name and len(finding.cases) == 1:
        (case_name,) = finding.cases
    if case_name not in finding.cases:
        raise ValueError(f"expected a case out of {list(finding.cases)}, got {case_name!r}")
    case = finding.cases[case_name]
    return f"{number(case.mean)} {interval(case)}"


def badge(verdict: str) -> str:
    return f"[{SHAPES[verdict]} {verdict}]{{.verdict .{verdict.replace(' ', '-')}}}"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def claim_text(finding: claims.Finding, judged: bool) -> str:
    """One claim as MyST text: statement, criterion, cases, and the raw values in a dropdown."""
    claim, cases = finding.claim, finding.cases
    parts = [
        f"(claim-{claim.id})=\n#### {claim.number} {badge(finding.verdict) if judged else ''}",
        claim.statement,
        f"**Measured:** {claim.measured}\\\n**Criterion:** {claims.describe_criterion(claim.criterion)}",
    ]
    if claim.superseded:
        better = claims.load_claims()[claim.superseded["by"]]
        link = f"{{ref}}`{better.number} <claim-{better.id}>`"
        parts.append(f"**This criterion was wrongly chosen; {link} replaces it.** {claim.superseded['why']}")
    if finding.reason:
        parts.append(f"**Why {finding.verdict}:** {finding.reason}")
    if cases:
        names = {name: name or "all" for name in cases}
        rows = [
            [names[name], number(case.mean), interval(case)] + [badge(case.verdict)] * judged
            for name, case in cases.items()
        ]
        parts.append(table(["case", "mean", "95 % interval"] + ["verdict"] * judged, rows))
        num_seeds = max(len(case.values) for case in cases.values())
        seeds = [
            [names[name], *map(number, case.values), *[""] * (num_seeds - len(case.values))]
            for name, case in cases.items()
        ]
        values = table(["case", *(f"seed {i}" for i in range(num_seeds))], seeds)
        sizes = ", ".join(f"`{name}` = {size}" for name, size in finding.sizes.items())
        parts.append(f":::{{dropdown}} Every seed's value, and the sizes\n{values}\n\nSizes: {sizes or 'none'}\n:::")
    return "\n\n".join(parts)


def notebook_link(name: str, source: Path) -> str:
    """The notebook's title, linked to its page; the plain name where this book does not have it."""
    path = source / "notebooks" / f"{name}.ipynb"
    if not path.exists():
        return f"`{name}`"
    first_line = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    return f"[{first_line.removeprefix('# ')}](/notebooks/{name}.ipynb)"


def claims_text(results: Results, source: Path) -> str:
    """The whole page: counts, then every claim by paper and notebook."""
    grouped = {}
    for finding in results.findings.values():
        grouped.setdefault(finding.claim.paper, {}).setdefault(finding.claim.notebook, []).append(finding)
    parts = ["## Verdicts"]
    if results.judged:
        rows = []
        for paper, notebooks in grouped.items():
            count = Counter(finding.verdict for group in notebooks.values() for finding in group)
            rows.append([PAPERS[paper], *(count[verdict] for verdict in SHAPES)])
        parts.append(table(["", *map(badge, SHAPES)], rows))
    else:
        parts.append(f":::{{warning}}\n{SMOKE} The numbers below show only that everything runs.\n:::")
    for paper, notebooks in grouped.items():
        parts.append(f"## {PAPERS[paper]}")
        for notebook, group in notebooks.items():
            parts.append(f"### {notebook_link(notebook, source)}")
            parts += [claim_text(finding, results.judged) for finding in group]
    return "\n\n".join(parts)


def status_text(results: Results, source: Path) -> str:
    """A row per notebook: how long it took, when, where and with what."""
    rows = [
        [
            notebook_link(name, source),
            f"{run['seconds']:.0f} s",
            run["finished"].replace("T", " ").replace("+00:00", " UTC"),
            run["profile"],
            run["device"],
            ", ".join(f"{package} {version}" for package, version in run["versions"].items()),
        ]
        for name, run in results.runs.items()
    ]
    total = f"{sum(run['seconds'] for run in results.runs.values()):.0f} s"
    header = ["notebook", "time", "finished", "profile", "device", "versions"]
    return table(header, [*rows, ["all", total, "", "", "", ""]])


class MeasuredRole(SphinxRole):
    """`claim-id` or `claim-id:case`, linked to the claim's raw values."""

    def run(self):
        claim_id, _, case = self.text.partition(":")
        try:
            text = measured_text(load_results().findings[claim_id], case)
        except KeyError:
            logger.warning("measured: no claim %r", claim_id, location=self.get_location())
            return [], []
        except ValueError as error:
            logger.warning("measured: %s: %s", claim_id, error, location=self.get_location())
            return [], []
        target = {"refdomain": "std", "reftype": "ref", "reftarget": f"claim-{claim_id}", "refexplicit": True}
        return [pending_xref("", nodes.inline(text, text), refdoc=self.env.docname, refwarn=True, **target)], []


class TextDirective(SphinxDirective):
    """Parses the MyST text that a function makes of the results."""

    make_text = None

    def run(self):
        text = type(self).make_text(load_results(), Path(self.env.srcdir))
        node = nodes.section()
        self.state.nested_parse(StringList(text.splitlines()), 0, node, match_titles=True)
        return node.children


class ClaimsDirective(TextDirective):
    make_text = claims_text


class StatusDirective(TextDirective):
    make_text = status_text


def _check(app, config):
    results = load_results()
    for claim_id in results.missing:
        logger.warning("the notebook of the claim %r ran and recorded nothing for it", claim_id)
    if not results.judged:
        config.html_theme_options["announcement"] = SMOKE


def setup(app):
    app.connect("config-inited", _check)
    app.add_role("measured", MeasuredRole())
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("run-status", StatusDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
