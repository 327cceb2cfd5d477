"""Sphinx extension: pages show what the notebooks measured, and a missing number is a warning.

The role `` {measured}`claim-id` `` (or `claim-id:case`) gives the mean and 95 % interval (the worst seed of a claim
about every seed), the directive `{claims}` gathers every claim with its verdict, what it was run with and why it is not
"reproduced", and `{run-status}` lists how the notebooks ran. All three read the folder named by the environment
variable `EARLYTIME_RESULTS`.
"""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from earlytime import claims
from reasons import interval, load_profiles, number, why
from sphinx.addnodes import pending_xref
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)

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
    """Read all results under `EARLYTIME_RESULTS` and judge every claim of `papers/*.yaml`."""
    try:
        folder = Path(os.environ["EARLYTIME_RESULTS"])
    except KeyError:
        raise ExtensionError("EARLYTIME_RESULTS is not set: build with `make book`") from None
    runs = {
        path.relative_to(folder).as_posix().removesuffix(".run.json"): json.loads(path.read_text())
        for path in sorted(folder.rglob("*.run.json"))
    }
    found: dict[str, claims.Finding] = {}
    for notebook in runs:
        found |= claims.read_results(folder / f"{notebook}.json")
    findings = {
        claim.id: found.get(claim.id) or claims.Finding(claim, "not run", NOT_IN_PROFILE, {}, {})
        for claim in claims.load_claims().values()
    }
    missing = [name for name, finding in findings.items() if name not in found and finding.claim.notebook in runs]
    return Results(findings, runs, missing)


def measured_text(finding: claims.Finding, case_name: str) -> str:
    """Mean and interval of one case, or its worst seed; **raises** `ValueError` where that does not say which."""
    if not finding.cases:
        return "not run"
    if not case_name and len(finding.cases) == 1:
        (case_name,) = finding.cases
    if case_name not in finding.cases:
        raise ValueError(f"expected a case out of {list(finding.cases)}, got {case_name!r}")
    case = finding.cases[case_name]
    if finding.claim.seeds == "every":
        return f"{number(case.worst)} in the worst seed"
    return f"{number(case.mean)} {interval(case)}"


def badge(verdict: str) -> str:
    return f"[{SHAPES[verdict]} {verdict}]{{.verdict .{verdict.replace(' ', '-')}}}"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def value_text(value: Any) -> str:
    """A recorded size: compact, and nothing left out."""
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {value_text(entry)}' for key, entry in value.items())}}}"
    return "none" if value is None else str(value)


def run_with(sizes: Mapping[str, Any]) -> str:
    """Everything that a measurement depends on, in one line; the seeds first."""
    names = sorted(sizes, key=lambda name: ("seed", "num_seeds", name).index(name))
    return ", ".join(f"`{name}` = `{value_text(sizes[name])}`" for name in names)


def reference(claim: claims.Claim) -> str:
    return f"{{ref}}`{claim.number} <claim-{claim.id}>`"


def successor(claim: claims.Claim) -> str:
    """A link to the claim whose criterion replaces that of this one; "" where none does."""
    return reference(claims.load_claims()[claim.superseded["by"]]) if claim.superseded else ""


def list_label(paper: str, verdict: str) -> str:
    """Where the list of a paper's claims with this verdict is."""
    return nodes.make_id(f"verdict {paper} {verdict}")


def claim_text(finding: claims.Finding, judged: bool) -> str:
    """One claim as MyST text: statement, criterion, cases, what it was run with, and the raw values in a dropdown."""
    claim, cases = finding.claim, finding.cases
    parts = [
        f"(claim-{claim.id})=\n#### {claim.number} {badge(finding.verdict) if judged else ''}",
        claim.statement,
        f"**Measured:** {claim.measured}\\\n**Criterion:** {claims.describe_criterion(claim)}",
    ]
    if finding.sizes:
        parts.append(f"[**Run with:** {run_with(finding.sizes)}]{{.run-with}}")
    if claim.superseded:
        parts.append(
            f"**This criterion was wrongly chosen; {successor(claim)} replaces it.** {claim.superseded['why']}"
        )
    if judged and finding.verdict != "reproduced":
        parts.append(f"**Why {finding.verdict}:** {why(finding, load_profiles())}")
    elif finding.reason and not cases:
        parts.append(f"**Why {finding.verdict}:** {finding.reason}")
    if cases:
        names = {name: name or "all" for name in cases}
        every = claim.seeds == "every"
        rows = [
            [names[name], number(case.mean), number(case.worst) if every else interval(case)]
            + [badge(case.verdict)] * judged
            for name, case in cases.items()
        ]
        spread = "worst seed" if every else "95 % interval"
        parts.append(table(["case", "mean", spread] + ["verdict"] * judged, rows))
        num_seeds = max(len(case.values) for case in cases.values())
        seeds = [
            [names[name], *map(number, case.values), *[""] * (num_seeds - len(case.values))]
            for name, case in cases.items()
        ]
        values = table(["case", *(f"seed {i}" for i in range(num_seeds))], seeds)
        parts.append(f":::{{dropdown}} Every seed's value\n{values}\n:::")
    return "\n\n".join(parts)


def notebook_link(name: str, source: Path) -> str:
    """The notebook's title, linked to its page; the plain name where this book does not have it."""
    path = source / "notebooks" / f"{name}.ipynb"
    if not path.exists():
        return f"`{name}`"
    first_line = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    return f"[{first_line.removeprefix('# ')}](/notebooks/{name}.ipynb)"


def verdict_lists(paper: str, findings: list[claims.Finding]) -> list[str]:
    """A list per verdict that a paper has: links, and for all but "reproduced" why, and what would decide it."""
    parts = []
    for verdict in claims.VERDICTS:
        group = [finding for finding in findings if finding.verdict == verdict]
        if verdict == "reproduced":
            lines = [", ".join(reference(finding.claim) for finding in group)]
        else:
            lines = [f"- {reference(finding.claim)}: {reason_of(finding)}" for finding in group]
        if group:
            parts.append(f"({list_label(paper, verdict)})=\n### {paper}: {verdict}\n\n" + "\n".join(lines))
    return parts


def reason_of(finding: claims.Finding) -> str:
    replaced = f" {successor(finding.claim)} has replaced this criterion." if finding.claim.superseded else ""
    return why(finding, load_profiles()) + replaced


def counts(findings_of: dict[str, list[claims.Finding]]) -> str:
    """How many claims of each paper have which verdict; every count is a link to its list."""
    count = {paper: Counter(finding.verdict for finding in findings) for paper, findings in findings_of.items()}
    rows = [
        [badge(verdict)]
        + [
            f"{{ref}}`{count[paper][verdict]} <{list_label(paper, verdict)}>`" if count[paper][verdict] else "0"
            for paper in count
        ]
        for verdict in claims.VERDICTS
    ]
    return table(["", *count], rows)


def claims_text(results: Results, source: Path) -> str:
    """The whole page: counts, the claims by verdict, then every claim by paper and notebook."""
    findings_of: dict[str, list[claims.Finding]] = {}
    for finding in results.findings.values():
        findings_of.setdefault(finding.claim.paper, []).append(finding)
    parts = ["## Verdicts"]
    if results.judged:
        parts.append(counts(findings_of))
        for paper, findings in findings_of.items():
            parts += verdict_lists(paper, findings)
    else:
        parts.append(f":::{{warning}}\n{SMOKE} The numbers below show only that everything runs.\n:::")
    for paper, findings in findings_of.items():
        parts.append(f"## {paper}")
        for notebook in dict.fromkeys(finding.claim.notebook for finding in findings):
            parts.append(f"### {notebook_link(notebook, source)}")
            parts += [claim_text(each, results.judged) for each in findings if each.claim.notebook == notebook]
    return "\n\n".join(parts)


def status_text(results: Results, source: Path) -> str:
    """A table per machine, profile and versions: a row per notebook, what it cost and when."""
    groups: dict[str, dict[str, dict]] = {}
    for name, run in results.runs.items():
        versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
        where = f"Profile `{run['profile']}`, on {run['device']}, with {versions}:"
        groups.setdefault(where, {})[name] = run
    return "\n\n".join(f"{where}\n\n{runs_table(runs, source)}" for where, runs in groups.items())


def runs_table(runs: Mapping[str, dict], source: Path) -> str:
    rows = [
        [
            notebook_link(name, source),
            *costs_text(run),
            memory_text(run["peak_memory"]),
            run["finished"].replace("T", " ").replace("+00:00", " UTC"),
        ]
        for name, run in runs.items()
    ]
    parts = ("seconds", "seconds_compiling", "programs", "from_cache")
    total = {part: sum(run[part] for run in runs.values()) for part in parts}
    header = ["notebook", "time", "compiling", "programs compiled", "peak memory", "finished"]
    return table(header, [*rows, ["all", *costs_text(total), "", ""]])


def costs_text(run: Mapping[str, Any]) -> list[str]:
    """Seconds in all, seconds of these in the compiler, and programs; those that were read were compiled before."""
    read = f" ({run['from_cache']} read)" if run["from_cache"] else ""
    compiled = f"{run['programs'] - run['from_cache']}{read}"
    return [f"{run['seconds']:.0f} s", f"{run['seconds_compiling']:.0f} s", compiled]


def memory_text(peak: Mapping[str, int | None]) -> str:
    """The most that a run had of the machine's memory, and of the GPU's."""
    host, device = peak["host"] or 0, peak["device"]
    return f"{host / 1e9:.1f} GB" + ("" if device is None else f", GPU {device / 1e9:.1f} GB")


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

    make_text: ClassVar[Callable[[Results, Path], str]]

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
    for claim_id, finding in results.findings.items():
        if finding.cases and not finding.sizes:
            logger.warning("the claim %r was recorded without the sizes that it was run with", claim_id)
    said = [os.environ.get("EARLYTIME_BANNER", ""), "" if results.judged else SMOKE]
    if any(said):
        config.html_theme_options["announcement"] = " ".join(each for each in said if each)


def setup(app):
    app.connect("config-inited", _check)
    app.add_role("measured", MeasuredRole())
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("run-status", StatusDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
