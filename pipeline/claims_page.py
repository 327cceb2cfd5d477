"""Sphinx extension: the directive `{claims}` is a table of every claim, with its verdict, its intervals and its record.

Without JavaScript it is a table with every record folded under its row; with it, DataTables (which the package itables
brings) sorts and filters it, and a record is made, and its formulas are set, when it is opened: a browser takes what
is inside of `noscript` for text, and the page is there in half of the time.
"""

import re
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import cast

from docutils import nodes
from earlytime import claims
from forest import forest
from reasons import interval, load_profiles, number, why
from results import SMOKE, Results, TextDirective, badge, load_results, notebook_link, plain, run_with, table
from sphinx.domains.std import StandardDomain

COLUMNS = {"claim": 14, "statement": 40, "verdict": 14, "measured": 22, "notebook": 10, "record": 100}
SCRIPT = "datatables.js"
MEANING = {
    "reproduced": "In every case the whole 95 % interval over the seeds meets the criterion; "
    "of a claim about every seed, each seed's value does.",
    "not reproduced": "In at least one case the whole interval misses it; "
    "of a claim about every seed, at least one seed's value does.",
    "inconclusive": "The interval lies on both sides, or meeting the criterion proves nothing, for the reason given.",
    "not run": "Nothing was measured, or at sizes too small for a verdict; the reason is given.",
}


def reference(claim: claims.Claim) -> str:
    return f"{{ref}}`{claim.number} <claim-{claim.id}>`"


def successor(claim: claims.Claim) -> str:
    """A link to the claim whose criterion replaces that of this one; "" where none does."""
    return reference(claims.load_claims()[claim.superseded["by"]]) if claim.superseded else ""


def cases_table(finding: claims.Finding, judged: bool) -> str:
    """A row per case: mean, interval (the worst seed of a claim about every one) and verdict."""
    every = finding.claim.seeds == "every"
    rows = [
        [name or "all", number(case.mean), number(case.worst) if every else interval(case)]
        + [badge(case.verdict)] * judged
        for name, case in finding.cases.items()
    ]
    return table(["case", "mean", "worst seed" if every else "95 % interval"] + ["verdict"] * judged, rows)


def seeds_text(finding: claims.Finding) -> str:
    """A line per case, since as many cells as there are seeds make a page slow."""
    lines = [f"{plain(name or 'all')}: {', '.join(map(number, case.values))}" for name, case in finding.cases.items()]
    return "\\\n".join(["**Every seed's value:**", *lines])


def record_text(finding: claims.Finding, others: dict[str, claims.Finding], judged: bool) -> str:
    """All that is known of a claim, as MyST text: what was measured, how, why the verdict, and every seed's value."""
    claim = finding.claim
    parts = [f"**Measured:** {claim.measured}\\\n**Criterion:** {claims.describe_criterion(claim)}"]
    if finding.sizes:
        parts.append(f"[**Run with:** {run_with(finding.sizes)}]{{.run-with}}")
    if claim.superseded:
        replaced = f"**This criterion was wrongly chosen; {successor(claim)} replaces it.**"
        parts.append(f"{replaced} {claim.superseded['why']}")
    if judged and finding.verdict != "reproduced":
        parts.append(f"**Why {finding.verdict}:** {why(finding, load_profiles())}")
    elif finding.reason and not finding.cases:
        parts.append(f"**Why {finding.verdict}:** {finding.reason}")
    if finding.cases:
        parts += [cases_table(finding, judged), seeds_text(finding)]
    for label, other in others.items():
        parts += [f"**{label[:1].upper()}{label[1:]}:**", cases_table(other, judged)]
    return "\n\n".join(parts)


def counts(findings: Iterable[claims.Finding]) -> str:
    """How many claims of each paper have which verdict, and what the verdicts mean."""
    count: dict[str, Counter] = {}
    for finding in findings:
        count.setdefault(finding.claim.paper, Counter())[finding.verdict] += 1
    rows = [[paper, *(of[name] for name in claims.VERDICTS)] for paper, of in count.items()]
    meaning = table(["verdict", "meaning"], [[badge(name), MEANING[name]] for name in claims.VERDICTS])
    counted = table(["paper", *map(badge, claims.VERDICTS)], rows)
    return f"{counted}\n\n:::{{dropdown}} What the verdicts mean\n{meaning}\n:::"


def head_text(results: Results) -> str:
    if results.judged:
        return counts(results.findings.values())
    return f":::{{warning}}\n{SMOKE} The numbers below show only that everything runs.\n:::"


class ClaimsDirective(TextDirective):
    def run(self):
        results = load_results()
        labels = cast(StandardDomain, self.env.get_domain("std"))
        group = nodes.tgroup("", cols=len(COLUMNS))
        group += [nodes.colspec("", colwidth=width) for width in COLUMNS.values()]
        head, body = nodes.thead(), nodes.tbody()
        head += nodes.row("", *(nodes.entry("", nodes.paragraph("", name)) for name in COLUMNS))
        for finding in results.findings.values():
            name, label = finding.claim.id, f"claim-{finding.claim.id}"
            others = {run: found[name] for run, found in results.others.items() if name in found}
            row = nodes.row("", *self.cells(finding, others, results.judged), ids=[label])
            labels.note_hyperlink_target(label, self.env.docname, label, finding.claim.number)
            body += row
        group += [head, body]
        scrolled = nodes.container("", nodes.table("", group, classes=["claims"]), classes=["claims-scroll"])
        return [*self.parsed(head_text(results)), scrolled]

    def cells(self, finding: claims.Finding, others: dict[str, claims.Finding], judged: bool) -> list[nodes.entry]:
        claim = finding.claim
        verdicts = [badge(finding.verdict)] if judged else []
        verdicts += [badge(other.verdict, run) for run, other in others.items() if judged]
        drawn = [nodes.raw("", forest(finding, others), format="html")] if finding.cases or others else []
        record = [
            nodes.raw("", "<details><summary>Record</summary><noscript>", format="html"),
            *self.parsed(record_text(finding, others, judged)),
            nodes.raw("", "</noscript></details>", format="html"),
        ]
        texts = [
            f"**{claim.number}**\\\n[{claim.paper}]{{.paper}}",
            claim.statement,
            " ".join(verdicts),
        ]
        return [
            *(nodes.entry("", *self.parsed(text)) for text in texts),
            nodes.entry("", *drawn),
            nodes.entry("", *self.parsed(notebook_link(claim.notebook, Path(self.env.srcdir), short=True))),
            nodes.entry("", *record, classes=["record"]),
        ]


def datatables() -> str:
    """The library as a script that also works from `file://`: a module of its own would be refused there."""
    module = (files("itables") / "html/dt_bundle.js").read_text(encoding="utf-8")
    exported = re.search(r"export\s*\{([^}]*)\}\s*;?", module)
    name = re.search(r"([\w$]+) as default", exported[1]) if exported else None
    if exported is None or name is None:
        raise ValueError("itables: its bundle of DataTables exports nothing that is known here")
    inside = module[: exported.start()] + f"window.DataTable = {name[1]};" + module[exported.end() :]
    return f"(() => {{{inside}\n}})();\n"


def _write_script(app):
    place = Path(app.outdir, "_static", SCRIPT)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(datatables(), encoding="utf-8")


def _only_on_this_page(app, pagename, templatename, context, doctree):
    if doctree is not None and any("claims" in table["classes"] for table in doctree.findall(nodes.table)):
        app.add_js_file(SCRIPT, loading_method="defer")
        app.add_js_file("claims.js", loading_method="defer")


def setup(app):
    app.add_directive("claims", ClaimsDirective)
    app.connect("builder-inited", _write_script)
    app.connect("html-page-context", _only_on_this_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
