"""Run a command with one GPU of this machine to itself: one_gpu.py PARENT COMMAND ...

PARENT is the process that started this one; when it is gone, this one waits for a GPU no longer. The GPU is chosen by
a lock, one for each GPU and user, which goes with the process however that ends. So all builds in all checkouts of one
user share the GPUs.
"""

import fcntl
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> list[str]:
    """The GPUs to share: those of CUDA_VISIBLE_DEVICES, or all that the NVIDIA driver has.

    **Raises** `SystemExit` where there is none.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        try:
            named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("\n", ",")
        except (OSError, subprocess.CalledProcessError):
            named = ""
    names = (each.strip() for each in named.split(","))
    found = [each for each in itertools.takewhile(lambda each: each != "-1", names) if each]  # -1 ends CUDA's list, too
    if not found:
        raise SystemExit(f"one GPU per notebook: nvidia-smi finds none, or {VISIBLE} is empty")
    return found


def _try_lock(gpu: str) -> int | None:
    """A file descriptor that holds the lock of a GPU, and that a command started with `exec` keeps; `None` if taken."""
    folder = Path(tempfile.gettempdir(), f"earlytime-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / re.sub(r"\W", "_", gpu), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    os.set_inheritable(lock, True)
    return lock


def take_one(parent: int) -> str:
    """Wait until a GPU is free, take it until this process ends, and return its name.

    **Raises** `SystemExit` when the process that started this one, `parent`, is gone.
    """
    while os.getppid() == parent:
        for gpu in gpus():
            if _try_lock(gpu) is not None:
                return gpu
        time.sleep(0.2)
    raise SystemExit(1)


if __name__ == "__main__":
    os.environ[VISIBLE] = take_one(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
