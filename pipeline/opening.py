"""Sphinx extension: under its title every notebook's page opens with what came out, made of what its run left behind.

The box has the verdicts of the notebook's claims, as links to their records, the picture of the cell with the tag
`headline`, and what it was run with.
"""

from pathlib import Path

import nbformat
from earlytime import claims
from nbformat.v4 import new_markdown_cell
from results import SHAPES, Results, load_results
from run_notebook import declared_parameters
from status import versions_text


def chips(findings: list[claims.Finding], judged: bool) -> str:
    """A coloured link per claim; one whose criterion was replaced is left to the claims page."""
    links = []
    for finding in findings:
        claim = finding.claim
        if not claim.superseded:
            shape, kind = (SHAPES[finding.verdict], finding.verdict.replace(" ", "-")) if judged else ("", "not-judged")
            links.append(f"[{{ref}}`{shape} {claim.number} <claim-{claim.id}>`]{{.verdict .{kind}}}")
    return " ".join(links)


def ran(run: dict, parameters: dict[str, object]) -> str:
    """Seeds, profile, versions, device and time of a run, in one line."""
    given = {**parameters, **run["parameters"]}
    first, count = given["seed"], given["num_seeds"]
    seeds = f"seed {first}" if count == 1 else f"{count} seeds from {first} on"
    return (
        f"Run with {seeds}, the profile `{run['profile']}` and {versions_text(run)}, on {run['device']}, "
        f"in {run['seconds']:.0f} s, {run['seconds_compiling']:.0f} s of them compiling."
    )


def box(name: str, notebook: Path, results: Results) -> str:
    findings = [finding for finding in results.findings.values() if finding.claim.notebook == name]
    parts = [":::::{div} opening", chips(findings, results.judged)]
    parts.append(f"```{{notebook-figure}} {name} headline\n```")
    if run := results.runs.get(name):
        parts.append(f"[{ran(run, declared_parameters(notebook))}]{{.run-with}}")
    return "\n\n".join([*parts, ":::::"])


def _insert_box(app, docname, source):
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    name = docname.removeprefix("notebooks/")
    notebook.cells.insert(1, new_markdown_cell(box(name, path, load_results())))
    source[0] = nbformat.writes(notebook)


def setup(app):
    app.connect("source-read", _insert_box)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
