"""What a notebook asks of a cluster, from what it took: resources.py PROFILE writes that down from the runs.

`resources.json` holds what was measured; the factors are here.
"""

import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

from current import notebooks_to_run, published
from fingerprint import load_profile, profile_file

PLACE = Path(__file__).with_name("resources.json")
TIMES_SECONDS, MINUTES_AT_LEAST = 4, 10  # another machine is slower, or busy; a job's start takes a part of a minute
TIMES_MEMORY = 1.5  # more cores or another version of JAX take more
MEMORY_BESIDE = 800  # MB: the runner (220), two Snakemakes (141 each) and srun, beside the notebook's own; measured 530


class Request(NamedTuple):
    """What a job asks for: `mem_mb`, memory in MB of 10⁶ bytes, and `minutes`, after which it is ended."""

    mem_mb: int
    minutes: int


NOT_MEASURED = Request(mem_mb=16_000, minutes=12 * 60)


def request(measured: dict[str, float] | None) -> Request:
    """What to ask for (`None`: not measured) after a run of `seconds`, with `host`, the peak memory in bytes."""
    if measured is None:
        return NOT_MEASURED
    memory = TIMES_MEMORY * measured["host"] / 1e6 + MEMORY_BESIDE
    minutes = max(MINUTES_AT_LEAST, TIMES_SECONDS * measured["seconds"] / 60)
    return Request(math.ceil(memory / 100) * 100, math.ceil(minutes))


def requests(profile: str) -> dict[str, Request]:
    """What each notebook asks for in a profile. Another seed takes what the first did."""
    measured = _measured(profile)
    return {name: request(measured.get(name)) for name in load_profile(profile)}


def longest_first(profile: str) -> list[str]:
    """The order in which to start the notebooks: one that starts last decides when all are done.

    By the seconds that were measured in this profile, or else in `standard`; what was not measured comes first.
    """
    measured = _measured(profile) or _measured("standard")
    return sorted(load_profile(profile), key=lambda name: -measured.get(name, {"seconds": math.inf})["seconds"])


def _measured(profile: str) -> dict[str, dict]:
    return json.loads(PLACE.read_text()).get(profile_file(profile)[0].stem, {})


def main(profile: str) -> None:
    """Write down the runs of a profile; **raises** `SystemExit` where a notebook has not run with what is here."""
    if found := notebooks_to_run(profile):
        raise SystemExit(f"{', '.join(found)}: not run with what is here now; first `make book PROFILE={profile}`")
    runs = {name: json.loads(published(name, profile).record.read_text()) for name in load_profile(profile)}
    measured = {
        name: {"seconds": run["seconds"], **run["peak_memory"], "on": run["device"]} for name, run in runs.items()
    }
    everything = json.loads(PLACE.read_text()) | {profile: measured}
    lines = (
        f' "{each}": {{\n'
        + ",\n".join(f'  "{name}": {json.dumps(one)}' for name, one in sorted(everything[each].items()))
        + "\n }"
        for each in sorted(everything)
    )
    PLACE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
