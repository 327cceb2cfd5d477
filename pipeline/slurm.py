"""What a build that was killed has left in Slurm's queue: Slurm goes on without it."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

SECONDS_BETWEEN_LOOKS = 2
SECONDS_BETWEEN_LINES = 60
# As Snakemake's plugin names its jobs: what `--slurm-jobname-prefix` says, here the profile, and a UUID for the call.
_NAME = re.compile(r"(?:(.+)_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Job(NamedTuple):
    """A job in the queue: its number, its state (Slurm's word), and the comment, which names the notebook."""

    id: str
    state: str
    comment: str


def _mark(profile: str) -> Path:
    return Path("_build", profile, "submitted")


def left_in_queue(profile: str) -> list[Job]:
    """The jobs of this checkout and profile that wait or run; one whose name has no profile may be of any.

    **Raises** `SystemExit` when Slurm does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%j|%k|%Z"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"squeue: {answer.stderr.strip()}")
    found = []
    for line in answer.stdout.splitlines():
        job, state, called, comment, folder = line.split("|", 4)
        name = _NAME.fullmatch(called)
        if name and name[1] in (None, profile) and folder == os.getcwd():
            found.append(Job(job, state, comment.removeprefix("rule_notebook_wildcards_")))
    return found


def settle(profile: str, *, submits: bool) -> None:
    """Empty the queue of what an earlier build has left there, so that no notebook runs twice at once.

    What waits is cancelled, as this build submits it again; what runs is waited for, as it publishes. `submits` says
    that this build will submit jobs: the next one has to look then, whatever becomes of this one.

    **Raises** `SystemExit` when Slurm does not answer, or is not here and there may be jobs in its queue.
    """
    mark, here = _mark(profile), shutil.which("squeue") is not None
    if mark.exists() and not here:
        raise SystemExit(
            f"an earlier build of the profile {profile} has submitted jobs, and there is no squeue here to ask for "
            f"them: build where it is, or remove {mark} if none of them is left"
        )
    if submits and here:
        mark.touch()
    if not mark.exists():
        return
    told = -float(SECONDS_BETWEEN_LINES)
    while left := left_in_queue(profile):
        if waiting := [job.id for job in left if job.state == "PENDING"]:
            subprocess.run(["scancel", "--state=PENDING", *waiting], stderr=subprocess.DEVNULL)  # one may be gone
        running = [f"{job.comment} ({job.id})" for job in left if job.state != "PENDING"]
        if running and time.monotonic() - told >= SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            print(f"Waiting for jobs of an earlier build: {', '.join(running)}; scancel ends them", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if not submits:
        mark.unlink()
