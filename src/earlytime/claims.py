"""What the papers claim, what was measured, and the verdict.

`claims.yaml` states every claim and its criterion, committed before any measurement. A notebook
records one number per seed; the verdict follows from the 95 % interval over seeds.
"""

import functools
import importlib.resources
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from earlytime.statistics import confidence_interval

VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")


class Claim(NamedTuple):
    """One entry of `claims.yaml`.

    Attributes:
        id: unique name.
        paper: Hu2020, Lee2019 or Liu2020.
        number: the theorem or figure, "Theorem 3.2".
        statement: the claim in our words.
        notebook: the notebook that measures it, "hu2020/theorem_3_2".
        measured: what is measured.
        criterion: {"at_most": bound} or {"at_least": bound} or both.
        requires: the least sizes that a verdict needs, {"num_seeds": 5, ...}.
        superseded: for a criterion that was wrongly chosen, {"by": the claim with the better one,
            "why": what was wrong}; both stay on the page.
        caveat: why meeting the criterion would prove nothing at these sizes; then the verdict is at
            best inconclusive.
    """

    id: str
    paper: str
    number: str
    statement: str
    notebook: str
    measured: str
    criterion: Mapping[str, float]
    requires: Mapping[str, int]
    superseded: Mapping[str, Any] | None = None
    caveat: str = ""


class Case(NamedTuple):
    """One measured case of a claim: its value per seed, their mean and 95 % interval, its verdict."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: str


class Finding(NamedTuple):
    """A claim, what was measured of it, and the verdict with its reason."""

    claim: Claim
    verdict: str
    reason: str
    cases: Mapping[str, Case]
    sizes: Mapping[str, Any]

    def _repr_markdown_(self) -> str:
        rows = "".join(
            f"| {name} | {case.mean:.4g} | [{case.low:.4g}, {case.high:.4g}] | {case.verdict} |\n"
            for name, case in self.cases.items()
        )
        table = f"\n\n| case | mean | 95 % interval | verdict |\n|---|---|---|---|\n{rows}" if rows else ""
        reason = f" ({self.reason})" if self.reason else ""
        return (
            f"**{self.claim.number}: {self.verdict}**{reason}. {self.claim.measured} "
            f"Criterion: {describe_criterion(self.claim.criterion)}.{table}"
        )


@functools.cache
def load_claims() -> dict[str, Claim]:
    """All claims of `claims.yaml`, by id."""
    text = importlib.resources.files("earlytime").joinpath("claims.yaml").read_text(encoding="utf-8")
    return {entry["id"]: Claim(**entry) for entry in yaml.safe_load(text)}


def describe_criterion(criterion: Mapping[str, float]) -> str:
    """A criterion in words.

    Example:
        >>> describe_criterion({"at_least": -0.6, "at_most": -0.4})
        'the whole interval at least -0.6 and at most -0.4'
    """
    bounds = [f"{kind.replace('_', ' ')} {bound:g}" for kind, bound in criterion.items()]
    return "the whole interval " + " and ".join(bounds)


def judge(claim: Claim, record: Mapping[str, Any]) -> Finding:
    """The verdict on a claim from what a notebook recorded.

    A case is reproduced if its whole 95 % interval meets the criterion, not reproduced if the
    whole interval misses it, inconclusive between. A claim is reproduced if all its cases are,
    not reproduced if one of them is not, and not run below the sizes that it requires. A claim with
    a caveat is inconclusive where it would be reproduced.

    Args:
        claim: from `load_claims()`.
        record: {"cases": {name: values per seed}, "sizes": {...}, "reason": why not run}.

    Returns:
        Finding.
    """
    if record["reason"]:
        return Finding(claim, "not run", record["reason"], {}, record["sizes"])
    cases = {name: _judge_case(claim, values) for name, values in record["cases"].items()}
    have = {name: int(np.max(size)) for name, size in record["sizes"].items()}
    have["num_seeds"] = min(len(case.values) for case in cases.values())
    for name, need in claim.requires.items():
        if have[name] < need:
            cases = {key: case._replace(verdict="not run") for key, case in cases.items()}
            reason = f"{name} = {have[name]}, a verdict needs {need}"
            return Finding(claim, "not run", reason, cases, record["sizes"])
    verdicts = {case.verdict for case in cases.values()}
    if verdicts == {"reproduced"}:
        verdict = "inconclusive" if claim.caveat else "reproduced"
    else:
        verdict = "not reproduced" if "not reproduced" in verdicts else "inconclusive"
    if claim.caveat:
        return Finding(claim, verdict, claim.caveat, cases, record["sizes"])
    return Finding(claim, verdict, "", cases, record["sizes"])


def _judge_case(claim: Claim, values) -> Case:
    low, high = confidence_interval(values)
    at_least = claim.criterion.get("at_least", -np.inf)
    at_most = claim.criterion.get("at_most", np.inf)
    if at_least <= low and high <= at_most:
        verdict = "reproduced"
    else:
        verdict = "not reproduced" if high < at_least or low > at_most else "inconclusive"
    return Case(tuple(map(float, values)), float(np.mean(values)), low, high, verdict)


def record_claim(
    claim_id: str, values_per_seed, *, results_path: str, sizes: Mapping[str, Any] | None = None
) -> Finding:
    """Judge what was measured of a claim, and write it to the results.

    Args:
        claim_id: of `claims.yaml`.
        values_per_seed: one number per seed, or {case: one number per seed}.
        results_path: the JSON file to add to; "" writes nothing.
        sizes: the sizes that it was measured at, numbers or lists of numbers, {"dim": [32, 64]};
            the largest must reach what the claim requires.

    Returns:
        Finding; as the last line of a notebook's cell it shows itself.

    Raises:
        ValueError: unknown claim, values that are not finite or not one per seed, a required size
            that is not given.
    """
    cases = values_per_seed if isinstance(values_per_seed, Mapping) else {"": values_per_seed}
    cases = {str(name): np.asarray(values, dtype=np.float64) for name, values in cases.items()}
    if not cases:
        raise ValueError(f"values_per_seed: expected at least one case of {claim_id}")
    record = {"cases": {}, "sizes": _plain(sizes or {}), "reason": ""}
    claim = _find(claim_id)
    for name in claim.requires:
        if name != "num_seeds" and name not in record["sizes"]:
            raise ValueError(f"sizes: {claim_id} requires {name}, which is not among {sorted(record['sizes'])}")
    for name, values in cases.items():
        if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
            raise ValueError(
                f"values_per_seed: expected one finite number per seed for {claim_id} {name}, got {values}"
            )
        record["cases"][name] = values.tolist()
    _write({claim_id: record}, results_path)
    return judge(claim, record)


def record_not_run(claim_id: str, reason: str, *, results_path: str) -> Finding:
    """Write that a claim could not be measured here, and why.

    Args:
        claim_id: of `claims.yaml`.
        reason: such as "CIFAR-10 is not on this machine".
        results_path: the JSON file to add to; "" writes nothing.

    Raises:
        ValueError: unknown claim, or no reason.
    """
    if not reason:
        raise ValueError("reason: expected a sentence")
    record = {"cases": {}, "sizes": {}, "reason": reason}
    claim = _find(claim_id)
    _write({claim_id: record}, results_path)
    return judge(claim, record)


def prepare_results(results_path: str) -> None:
    """Find out before the work whether results can be written, and start the file: {"claims": {}}.

    A file of results that is there already is added to.

    Args:
        results_path: the JSON file; "" for none.

    Raises:
        ValueError: a path that cannot be written, or a file there that does not hold results.
    """
    if not results_path:
        return
    try:
        _write({}, results_path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"results_path: expected results, or a new file, at {results_path!r}: {error!r}") from None


def read_results(results_path: str | os.PathLike) -> dict[str, Finding]:
    """The findings of one results file, by claim id."""
    records = json.loads(Path(results_path).read_text(encoding="utf-8"))["claims"]
    return {claim_id: judge(_find(claim_id), record) for claim_id, record in records.items()}


def _find(claim_id: str) -> Claim:
    claims = load_claims()
    if claim_id not in claims:
        raise ValueError(f"claim_id: claims.yaml has no {claim_id!r}; it has {', '.join(claims)}")
    return claims[claim_id]


def _plain(sizes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(size).tolist() for name, size in sizes.items()}


def _write(records: Mapping[str, dict], results_path: str) -> None:
    if not results_path:
        return
    path = Path(results_path)
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"claims": {}}
    results["claims"].update(records)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
    os.replace(partial, path)  # never a half-written file
