"""What the notebooks of a build left behind, and words for it: shared by the pages that show it.

The folder named by the environment variable `EARLYTIME_RESULTS` is read; other runs of the same claims, with other
seeds or on another machine, are in the folders that the JSON object `EARLYTIME_OTHER_RESULTS` names: {label: folder}.
"""

import functools
import json
import os
import re
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from earlytime import claims
from reasons import interval, number
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

SHAPES = dict(zip(claims.VERDICTS, "✓✗≈○", strict=True))
SMOKE = "This copy was built with the smoke profile: its sizes are far too small for any verdict."
NOT_IN_PROFILE = "its notebook did not run"


class Results(NamedTuple):
    """What the notebooks of one profile left behind: findings by claim, records of the runs by notebook.

    `others` has the findings of other runs by their labels, only of claims that were measured there.
    """

    findings: dict[str, claims.Finding]
    runs: dict[str, dict]
    missing: list[str]
    others: dict[str, dict[str, claims.Finding]]

    @property
    def judged(self) -> bool:
        return all(run["profile"] != "smoke" for run in self.runs.values())


def _read(folder: Path) -> tuple[dict[str, claims.Finding], dict[str, dict]]:
    runs = {
        path.relative_to(folder).as_posix().removesuffix(".run.json"): json.loads(path.read_text())
        for path in sorted(folder.rglob("*.run.json"))
    }
    found: dict[str, claims.Finding] = {}
    for notebook in runs:
        found |= claims.read_results(folder / f"{notebook}.json")
    return found, runs


@functools.cache
def load_results() -> Results:
    """Read all results and judge every claim of `papers/*.yaml`."""
    try:
        folder = Path(os.environ["EARLYTIME_RESULTS"])
    except KeyError:
        raise ExtensionError("EARLYTIME_RESULTS is not set: build with `make book`") from None
    found, runs = _read(folder)
    findings = {
        claim.id: found.get(claim.id) or claims.Finding(claim, "not run", NOT_IN_PROFILE, {}, {})
        for claim in claims.load_claims().values()
    }
    missing = [name for name, finding in findings.items() if name not in found and finding.claim.notebook in runs]
    others = {}
    for label, place in json.loads(os.environ.get("EARLYTIME_OTHER_RESULTS", "{}")).items():
        measured = {name: finding for name, finding in _read(Path(place))[0].items() if finding.cases}
        if measured:
            others[label] = measured
    return Results(findings, runs, missing, others)


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


def badge(verdict: str, text: str = "") -> str:
    """A verdict as a coloured word, or another text in its place."""
    return f"[{SHAPES[verdict]} {text or verdict}]{{.verdict .{verdict.replace(' ', '-')}}}"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """As MyST text that is shown as it is."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", text)


def value_text(value: Any) -> str:
    """A recorded size: compact, and nothing left out."""
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {value_text(entry)}' for key, entry in value.items())}}}"
    return "none" if value is None else str(value)


def run_with(sizes: Mapping[str, Any]) -> str:
    """Everything that a measurement depends on, the seeds first, as plain text: thousands of code spans are slow."""
    names = sorted(sizes, key=lambda name: ("seed", "num_seeds", name).index(name))
    return plain(", ".join(f"{name} = {value_text(sizes[name])}" for name in names))


def notebook_link(name: str, source: Path, *, short: bool = False) -> str:
    """The notebook's title (or its short name), linked to its page; the plain name where this book does not have it."""
    path = source / "notebooks" / f"{name}.ipynb"
    if not path.exists():
        return f"`{name}`"
    if short:
        return f"[{path.stem.replace('_', ' ')}](/notebooks/{name}.ipynb)"
    first_line = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    return f"[{first_line.removeprefix('# ')}](/notebooks/{name}.ipynb)"


class TextDirective(SphinxDirective):
    """Parses the MyST text that a function makes of the results."""

    make_text: ClassVar[Callable[[Results, Path], str]]

    def run(self):
        text = type(self).make_text(load_results(), Path(self.env.srcdir))
        return self.parsed(text)

    def parsed(self, text: str) -> list[nodes.Node]:
        node = nodes.section()
        self.state.nested_parse(StringList(text.splitlines()), 0, node, match_titles=True)
        return node.children
