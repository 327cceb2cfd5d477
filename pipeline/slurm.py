"""What a build that was killed has left in Slurm's queue: Slurm goes on without it."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

SECONDS_BETWEEN_LOOKS = 2
SECONDS_BETWEEN_LINES = 60


class Job(NamedTuple):
    """A job in the queue: its number, its state (Slurm's word), and the comment, which names the notebook."""

    id: str
    state: str
    comment: str


def _mark(profile: str) -> Path:
    return Path("_build", profile, "submitted")


def left_in_queue(profile: str) -> list[Job]:
    """The jobs of this checkout and profile that wait or run.

    A job's name begins with the profile, as `--slurm-jobname-prefix` says; one without a prefix may be of any.

    **Raises** `SystemExit` when Slurm does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%j|%Z|%k"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"squeue: {answer.stderr.strip()}")
    found = []
    for line in answer.stdout.splitlines():
        job, state, name, rest = line.split("|", 3)
        folder, comment = rest.rsplit("|", 1)
        prefix, _, _ = name.rpartition("_")
        if folder == os.getcwd() and comment.startswith("rule_notebook") and prefix in ("", profile):
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
    waiting = [job.id for job in left_in_queue(profile) if job.state == "PENDING"]
    if waiting:
        subprocess.run(["scancel", "--state=PENDING", *waiting], check=True)
    told = -float(SECONDS_BETWEEN_LINES)
    while running := left_in_queue(profile):
        if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            names = ", ".join(f"{job.comment} ({job.id})" for job in running)
            print(f"Waiting for jobs of an earlier build: {names}; scancel ends them", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if not submits:
        mark.unlink()
