"""Why a claim is not "reproduced", as far as it is known, and what would decide it, from the results."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import yaml
from earlytime import claims

MOST_SEEDS = 1000  # beyond that many nobody waits for a verdict
Profiles = Mapping[str, Mapping[str, Mapping[str, Any]]]  # profile -> notebook -> its parameters


@functools.cache
def load_profiles() -> Profiles:
    """The parameters of every profile under `pipeline/profiles`."""
    paths = sorted(Path(__file__).with_name("profiles").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) or {} for path in paths}


def number(value: float) -> str:
    """Three significant digits."""
    text = f"{abs(value):#.3g}".removesuffix(".").replace("inf", "∞")
    return f"−{text}" if value < 0 else text


def bound(value: float) -> str:
    """A bound as it is written in a criterion."""
    return f"{value:g}".replace("-", "−")


def interval(case: claims.Case) -> str:
    return f"[{number(case.low)}, {number(case.high)}]"


def seeds_to_decide(case: claims.Case, criterion: Mapping[str, float]) -> float:
    r"""How many seeds would put the whole interval on one side, if mean and spread stay.

    The smallest $k$ with $t_{k-1}\, s/\sqrt k < |\bar x - b|$ for the nearest bound $b$ and the standard deviation $s$
    of the values; infinite where the mean is on the bound, or where it would be more than `MOST_SEEDS`.
    """
    k = np.arange(2, MOST_SEEDS + 1)
    half = scipy.special.stdtrit(k - 1, 0.975) * np.std(case.values, ddof=1) / np.sqrt(k)
    enough = half < min(abs(case.mean - limit) for limit in criterion.values())
    return float(k[enough.argmax()]) if enough.any() else np.inf


def why(finding: claims.Finding, profiles: Profiles) -> str:
    """The reason for the verdict as MyST text; "" for a claim that is reproduced."""
    claim, parts = finding.claim, []
    if finding.verdict == "reproduced":
        return ""
    if finding.verdict == "not run":
        parts.append(_what_is_missing(finding, profiles))
    if finding.verdict == "not reproduced":
        parts += [_what_misses(finding), claim.known or "Why is not known."]
    if finding.verdict == "inconclusive":
        undecided = any(case.verdict == "inconclusive" for case in finding.cases.values())
        parts += [_what_is_undecided(finding) if undecided else "The criterion is met, and that decides nothing."]
        parts += [claim.caveat, claim.known]
        if claim.caveat and not claim.superseded and not claim.known:
            parts.append("Another criterion would have to decide it, not more seeds.")
    return " ".join(part for part in parts if part)


def _what_is_missing(finding: claims.Finding, profiles: Profiles) -> str:
    claim, values = finding.claim, {name: case.values for name, case in finding.cases.items()}
    missing = claims.missing_size(claim, finding.sizes, values) if values else None
    if missing is None:
        return f"{finding.reason[:1].upper()}{finding.reason[1:]}."
    name, have, need = missing
    there = [profile for profile, notebooks in profiles.items() if _reaches(notebooks, claim, name, need)]
    where = f"the profile `{there[0]}` has that" if there else "no profile has that"
    return f"`{name}` is {have:g}, and a verdict needs {need:g}: {where}."


def _reaches(notebooks: Mapping[str, Mapping[str, Any]], claim: claims.Claim, name: str, need: float) -> bool:
    value = (notebooks.get(claim.notebook) or {}).get(name)
    return value is not None and np.max(value) >= need


def _what_misses(finding: claims.Finding) -> str:
    every = finding.claim.seeds == "every"
    shown = {
        name: f"{number(case.worst)} at worst" if every else interval(case)
        for name, case in finding.cases.items()
        if case.verdict == "not reproduced"
    }
    if len(finding.cases) == 1:
        return f"The {'worst seed' if every else 'whole interval'} misses the criterion: {', '.join(shown.values())}."
    return f"{len(shown)} of {len(finding.cases)} cases miss the criterion: {_listed(shown)}."


def _what_is_undecided(finding: claims.Finding) -> str:
    criterion = finding.claim.criterion
    undecided = {name: case for name, case in finding.cases.items() if case.verdict == "inconclusive"}
    shown = {}
    for name, case in undecided.items():
        inside = [bound(limit) for limit in criterion.values() if case.low <= limit <= case.high]
        shown[name] = f"{interval(case)} around {' and '.join(inside)}"
    needed = max(seeds_to_decide(case, criterion) for case in undecided.values())
    if any(case.mean in criterion.values() for case in undecided.values()):
        seeds = "A mean lies on the bound, so that more seeds need not decide it."
    elif np.isinf(needed):
        seeds = f"If mean and spread stay, more than {MOST_SEEDS:,} seeds would be needed to decide it."
    else:
        seeds = f"If mean and spread stay, about {needed:.0f} seeds would decide it."
    if len(finding.cases) == 1:
        return f"The interval lies on both sides: {', '.join(shown.values())}. {seeds}"
    return f"{len(shown)} of {len(finding.cases)} intervals lie on both sides: {_listed(shown)}. {seeds}"


def _listed(shown: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in shown.items())
