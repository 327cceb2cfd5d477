"""The claims as they are written down: one file per paper under `papers/`, nested paper → notebook → claim."""

import functools
import importlib.resources
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

TEXTS = "texts"  # the key of what anchors are put on, ignored here
FIRST = ("hu2020.yaml", "lee2019.yaml", "liu2020.yaml")  # the three papers that the book is about


class Claim(NamedTuple):
    """One claim of `papers/*.yaml`.

    Attributes:
        id: unique name.
        paper: "Hu et al. 2020".
        number: the theorem or figure, "Theorem 3.2".
        statement: the claim in our words.
        notebook: the notebook that measures it, "hu2020/theorem_3_2".
        measured: what is measured; no size, rate or seed that a run decides.
        criterion: `{"at_most": bound}` or `{"at_least": bound}` or both.
        requires: the least sizes that a verdict needs, by the names that the notebook records them under,
            `{"num_seeds": 5, "dims": 128}`.
        superseded: for a criterion that was wrongly chosen, `{"by": the claim with the better one,
            "why": what was wrong}`; both stay on the page.
        caveat: why meeting the criterion would prove nothing at these sizes; then the verdict is at
            best inconclusive.
        seeds: "mean" where the interval of the mean over the seeds has to meet the criterion; "every" where
            the claim is about every seed, so that each one has to.
        known: one sentence on why it was not reproduced, as far as that is known, and what would decide it.
    """

    id: str
    paper: str
    number: str
    statement: str
    notebook: str
    measured: str
    criterion: Mapping[str, float]
    requires: Mapping[str, float]
    superseded: Mapping[str, str] | None = None
    caveat: str = ""
    seeds: str = "mean"
    known: str = ""


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys, of which plain YAML keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"line {node.start_mark.line + 1}: {', '.join(twice)} is there twice")
        return super().construct_mapping(node, deep)


@functools.cache
def load_claims() -> dict[str, Claim]:
    """All claims of all papers, by id: those of the book's three papers first."""
    folder = importlib.resources.files("earlytime") / "papers"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    files.sort(key=lambda name: name not in FIRST)
    return collect({name: (folder / name).read_text(encoding="utf-8") for name in files})


def collect(files: Mapping[str, str]) -> dict[str, Claim]:
    """The claims of several files, by id.

    Args:
        files: name of the file -> its text.

    Raises:
        ValueError: a file that is not one paper with its claims, a claim that is there twice, a field that is
            missing or unknown or wrong; it names the file, and the claim.
    """
    claims = {}
    for file, text in files.items():
        for claim in _claims_of(file, text):
            if claim.id in claims:
                raise ValueError(f"{file}: {claim.id}: there is another claim with this id")
            claims[claim.id] = claim
    for claim in claims.values():
        if claim.superseded and claim.superseded["by"] not in claims:
            raise ValueError(f"{claim.id}: superseded by {claim.superseded['by']!r}, which is no claim")
    return claims


def _claims_of(file: str, text: str) -> Iterator[Claim]:
    try:
        papers = yaml.load(text, _Loader)
        papers.pop(TEXTS, None)
        ((paper, notebooks),) = papers.items()
        entries = [(notebook, *entry) for notebook, claims in notebooks.items() for entry in claims.items()]
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        raise ValueError(f"{file}: expected one paper, its notebooks and their claims: {error}") from error
    for notebook, claim_id, fields in entries:
        try:
            yield _claim(id=claim_id, paper=paper, notebook=notebook, **fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file}: {claim_id}: {error}") from error


def _claim(**fields: Any) -> Claim:
    if unknown := sorted(set(fields) - set(Claim._fields)):
        raise ValueError(f"unknown fields {unknown}, expected some of {list(Claim._fields)}")
    if missing := [name for name in Claim._fields if name not in {*fields, *Claim._field_defaults}]:
        raise ValueError(f"missing fields {missing}")
    claim = Claim(**fields)
    for name in ("number", "statement", "measured", "caveat", "known"):
        text = getattr(claim, name)
        if not isinstance(text, str) or not text and name in fields:
            raise ValueError(f"{name}: expected a text, got {text!r}")
    if claim.seeds not in ("mean", "every"):
        raise ValueError(f"seeds: expected 'mean' or 'every', got {claim.seeds!r}")
    _check_numbers("criterion", claim.criterion)
    if not set(claim.criterion) <= {"at_least", "at_most"}:
        raise ValueError(f"criterion: expected at_least, at_most or both, got {claim.criterion!r}")
    _check_numbers("requires", claim.requires)
    if "num_seeds" not in claim.requires:
        raise ValueError(f"requires: expected num_seeds among the sizes, got {claim.requires!r}")
    if claim.superseded is not None and set(claim.superseded) != {"by", "why"}:
        raise ValueError(f"superseded: expected by and why, got {claim.superseded!r}")
    return claim


def _check_numbers(name: str, values: Any) -> None:
    numbers = isinstance(values, Mapping) and all(type(value) in (int, float) for value in values.values())
    if not numbers or not values:
        raise ValueError(f"{name}: expected names with numbers, got {values!r}")
