"""One build of a profile at a time in a checkout, and which build a job in a cluster's queue belongs to."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

BUILD = "EARLYTIME_BUILD"  # set here, and in the environment of every job that this build submits


def _lock_file(profile: str) -> Path:
    return Path("_build", profile, "lock")


def begin(profile: str) -> tuple[IO[str], float]:
    """Begin a build: two of one profile would write the same files.

    Returns the lock, which lasts as long as the process, however that ends, and the time (seconds since the epoch),
    which is the build's name.

    **Raises** `SystemExit` while another build of the profile runs.
    """
    _lock_file(profile).parent.mkdir(parents=True, exist_ok=True)
    lock = open(_lock_file(profile), "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise SystemExit(f"another build of the profile {profile} is running in this checkout") from None
    started = time.time()
    lock.truncate(0)
    lock.write(repr(started))
    lock.flush()
    os.fsync(lock.fileno())  # a node of a cluster reads it through a shared file system
    os.environ[BUILD] = repr(started)
    return lock, started


def begun(profile: str) -> float:
    """When the build began that submitted this job.

    **Raises** `SystemExit` if another build has begun since: the files are that one's now.
    """
    mine = os.environ.get(BUILD, "")
    if not mine or _lock_file(profile).read_text() != mine:
        raise SystemExit(f"this job is from an earlier build of the profile {profile}: it ends here")
    return float(mine)
