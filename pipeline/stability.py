"""Whether the verdicts of a profile stand when its notebooks run with other seeds: stability.py PROFILE SEED ..."""

import argparse
import sys
from pathlib import Path

from earlytime import claims
from fingerprint import source_notebooks

ENOUGH = 0.95  # of the verdicts


def verdicts(profile: str) -> dict[str, str]:
    """The verdict of every claim that was measured in a profile."""
    found: dict[str, str] = {}
    for name in source_notebooks():
        findings = claims.read_results(Path("_build", profile, "results", f"{name}.json"))
        found |= {claim: finding.verdict for claim, finding in findings.items() if finding.cases}
    return found


def compare(first: dict[str, str], others: dict[int, dict[str, str]]) -> tuple[list[str], float]:
    """A line for every claim whose verdict moved with some seed, and the share of all verdicts that stood."""
    lines, stood, total = [], 0, 0
    for claim, verdict in first.items():
        found = {seed: verdicts[claim] for seed, verdicts in others.items() if claim in verdicts}
        stood += sum(other == verdict for other in found.values())
        total += len(found)
        if moved := [f"{other} (seed {seed})" for seed, other in found.items() if other != verdict]:
            lines.append(f"{claim}: {verdict}, but {', '.join(moved)}")
    return lines, stood / total if total else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile")
    parser.add_argument("seeds", type=int, nargs="+")
    arguments = parser.parse_args()
    others = {seed: verdicts(f"{arguments.profile}-seed-{seed}") for seed in arguments.seeds}
    lines, share = compare(verdicts(arguments.profile), others)
    print("\n".join(lines))
    print(f"{share:.1%} of the verdicts stand with the seeds {', '.join(map(str, arguments.seeds))}")
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
