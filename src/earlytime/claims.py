"""What the papers claim, what was measured, and the verdict.

`papers/*.yaml` state every claim and its criterion, committed before it was measured, with one exception that the
book's conventions name. A notebook records one number per seed; the verdict follows from the 95 % interval over
seeds, or from the worst seed where the claim is about every one.
"""

import json
import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from earlytime import _results_files
from earlytime._claim_files import Claim as Claim
from earlytime._claim_files import load_claims as load_claims
from earlytime._recorded_values import plain, values_by_case
from earlytime.statistics import confidence_interval

VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")


class Case(NamedTuple):
    """One measured case of a claim.

    Attributes:
        values: one per seed.
        mean: of the values.
        low, high: the mean's 95 % interval; the smallest and the largest value where the claim is about every seed.
        worst: the value that is furthest outside of the criterion, or least far inside.
        verdict: of this case alone.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    worst: float
    verdict: str


class Finding(NamedTuple):
    """A claim, what was measured of it, and the verdict with its reason.

    Attributes:
        claim: what was claimed.
        verdict: one of `VERDICTS`.
        reason: why it is not run, or the caveat.
        cases: by name.
        sizes: everything that the measurement depends on, as the notebook recorded it.
    """

    claim: Claim
    verdict: str
    reason: str
    cases: Mapping[str, Case]
    sizes: Mapping[str, Any]

    def _repr_markdown_(self) -> str:
        every = self.claim.seeds == "every"
        rows = "".join(
            f"| {name} | {case.mean:.4g} | {f'{case.worst:.4g}' if every else f'[{case.low:.4g}, {case.high:.4g}]'} "
            f"| {case.verdict} |\n"
            for name, case in self.cases.items()
        )
        heading = "worst seed" if every else "95 % interval"
        table = f"\n\n| case | mean | {heading} | verdict |\n|---|---|---|---|\n{rows}" if rows else ""
        reason = f" ({self.reason})" if self.reason else ""
        return (
            f"**{self.claim.number}: {self.verdict}**{reason}. {self.claim.measured} "
            f"Criterion: {describe_criterion(self.claim)}.{table}"
        )


def describe_criterion(claim: Claim) -> str:
    """A claim's criterion in words.

    Example:
        >>> describe_criterion(load_claims()["hu2020-proposition-3-4-norm"])
        'the whole interval at least -0.15 and at most 0.15'
        >>> describe_criterion(load_claims()["liu2020-kernel-bound"])
        'every seed at most 1'
    """
    bounds = [f"{kind.replace('_', ' ')} {bound:g}" for kind, bound in claim.criterion.items()]
    return ("every seed " if claim.seeds == "every" else "the whole interval ") + " and ".join(bounds)


def missing_size(claim: Claim, sizes: Mapping[str, Any], cases: Mapping[str, Sized]) -> tuple[str, float, float] | None:
    """The first size that a verdict needs and a measurement does not have: (name, what it has, what is needed).

    Args:
        claim: from `load_claims()`.
        sizes: as recorded; of several the largest counts. num_seeds is counted among the values.
        cases: name -> values per seed.

    Raises:
        ValueError: a size that the claim requires and that is not there, or is no number.
    """
    for name, need in claim.requires.items():
        if name == "num_seeds":
            have: float = min(map(len, cases.values()))
        elif name in sizes:
            have = _largest(name, sizes[name])
        else:
            raise ValueError(f"sizes: {claim.id} requires {name}, which is not among {sorted(sizes)}")
        if have < need:
            return name, have, need
    return None


def judge(claim: Claim, record: Mapping[str, Any]) -> Finding:
    """The verdict on a claim from what a notebook recorded.

    A case is reproduced if its whole 95 % interval meets the criterion, not reproduced if the
    whole interval misses it, inconclusive between. Where the claim is about every seed, a case is
    reproduced if each seed's value meets the criterion, and not reproduced if one misses it. A claim is
    reproduced if all its cases are, not reproduced if one of them is not, and not run below the sizes that
    it requires. A claim with a caveat is inconclusive where it would be reproduced.

    Args:
        claim: from `load_claims()`.
        record: `{"cases": {name: values per seed}, "sizes": {...}, "reason": why not run}`.

    Returns:
        Finding.

    Raises:
        ValueError: as `missing_size` does.
    """
    if record["reason"]:
        return Finding(claim, "not run", record["reason"], {}, record["sizes"])
    cases = {name: _judge_case(claim, values) for name, values in record["cases"].items()}
    if missing := missing_size(claim, record["sizes"], record["cases"]):
        name, have, need = missing
        cases = {key: case._replace(verdict="not run") for key, case in cases.items()}
        return Finding(claim, "not run", f"{name} = {have:g}, a verdict needs {need:g}", cases, record["sizes"])
    verdicts = {case.verdict for case in cases.values()}
    if verdicts == {"reproduced"}:
        verdict = "inconclusive" if claim.caveat else "reproduced"
    else:
        verdict = "not reproduced" if "not reproduced" in verdicts else "inconclusive"
    return Finding(claim, verdict, claim.caveat, cases, record["sizes"])


def _judge_case(claim: Claim, values: Sequence[float] | np.ndarray) -> Case:
    ordered = np.sort(np.asarray(values, dtype=np.float64))  # so that the order of the seeds changes no last digit
    at_least = claim.criterion.get("at_least", -np.inf)
    at_most = claim.criterion.get("at_most", np.inf)
    worst = ordered[np.argmin(np.minimum(ordered - at_least, at_most - ordered))]
    if claim.seeds == "every":
        low, high = ordered[0], ordered[-1]
        verdict = "reproduced" if at_least <= low and high <= at_most else "not reproduced"
    else:
        low, high = confidence_interval(ordered)
        if at_least <= low and high <= at_most:
            verdict = "reproduced"
        else:
            verdict = "not reproduced" if high < at_least or low > at_most else "inconclusive"
    numbers = (float(np.mean(ordered)), float(low), float(high), float(worst))
    return Case(tuple(map(float, values)), *numbers, verdict)


def record_claim(
    claim_id: str, values_per_seed: Any, *, results_path: str, sizes: Mapping[str, Any] | None = None
) -> Finding:
    """Judge what was measured of a claim, and write it to the results.

    Args:
        claim_id: of `papers/*.yaml`.
        values_per_seed: one number per seed, or {case: one number per seed}.
        results_path: the JSON file to add to; "" writes nothing.
        sizes: everything that the measurement depends on, which the book shows as "run with": what
            `check_parameters` returns, and what the notebook derives from it,
            `{"dims": [32, 64], "activation": "erf"}`. Numbers, strings, None, and lists and mappings of them; of
            several numbers the largest must reach what the claim requires.

    Returns:
        Finding; as the last line of a notebook's cell it shows itself.

    Raises:
        ValueError: unknown claim, values that are not finite or not one per seed, a size that is none of the above,
            a required size that is not given or is no number.
    """
    claim = _find(claim_id)
    sizes = {str(name): plain(name, size) for name, size in (sizes or {}).items()}
    record = {"cases": values_by_case(claim_id, values_per_seed), "sizes": sizes, "reason": ""}
    finding = judge(claim, record)
    _record("claims", claim_id, record, results_path)
    return finding


def record_not_run(claim_id: str, reason: str, *, results_path: str) -> Finding:
    """Write that a claim could not be measured here, and why.

    Args:
        claim_id: of `papers/*.yaml`.
        reason: such as "CIFAR-10 is not on this machine".
        results_path: the JSON file to add to; "" writes nothing.

    Raises:
        ValueError: unknown claim, or no reason.
    """
    if not reason:
        raise ValueError("reason: expected a sentence")
    record = {"cases": {}, "sizes": {}, "reason": reason}
    claim = _find(claim_id)
    _record("claims", claim_id, record, results_path)
    return judge(claim, record)


def record_measured(name: str, values_per_seed: Any, *, results_path: str) -> None:
    """Write to the results what was measured and belongs to no claim.

    Args:
        name: what it is, such as "kernel gap".
        values_per_seed: one number per seed, or {case: one number per seed}.
        results_path: the JSON file to add to; "" writes nothing.

    Raises:
        ValueError: no name, or values that are not finite or not one per seed.
    """
    if not name:
        raise ValueError("name: expected what was measured")
    _record("measured", name, values_by_case(name, values_per_seed), results_path)


def prepare_results(results_path: str) -> None:
    """Find out before the work whether results can be written, and start the file of this run.

    It is `{"run": {...}, "claims": {}, "measured": {}}`, where "run" says which run this is (notebook, parameters
    with the seed), on what (versions, device, revision of the sources), and what it cost so far. Results of the
    same run that are there already are replaced.

    Args:
        results_path: the JSON file; "" for none.

    Raises:
        ValueError: a path that cannot be written, a file there that does not hold results, or those of another
            run: other parameters, another seed, another notebook.
    """
    if not results_path:
        return
    try:
        _results_files.start(results_path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if str(error).startswith("results_path: "):
            raise
        raise ValueError(f"results_path: expected results, or a new file, at {results_path!r}: {error!r}") from None


def read_results(results_path: str | os.PathLike) -> dict[str, Finding]:
    """The findings of one results file, by claim id.

    Raises:
        ValueError: a file that does not hold results, which it names.
    """
    try:
        records = json.loads(Path(results_path).read_text(encoding="utf-8"))["claims"]
        return {claim_id: judge(_find(claim_id), record) for claim_id, record in records.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(results_path)}: expected the results of a notebook: {error!r}") from error


def _find(claim_id: str) -> Claim:
    claims = load_claims()
    if claim_id not in claims:
        raise ValueError(f"claim_id: there is no {claim_id!r}; there are {', '.join(claims)}")
    return claims[claim_id]


def _record(kind: str, name: str, record: Any, results_path: str) -> None:
    if results_path:
        _results_files.add({kind: {name: record}}, results_path)


def _largest(name: str, size: Any) -> float:
    if isinstance(size, (list, tuple)) and size:
        return max(_largest(name, value) for value in size)
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        raise ValueError(f"sizes: expected a number or numbers for {name}, which is required, got {size!r}")
    return size
