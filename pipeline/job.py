"""A job of a Snakemake process: its error in one line, its exit status, and its end when Snakemake is gone."""

import os
import sys
import threading
import time
from collections.abc import Callable


def run_job(work: Callable[[], None], *, parent: int) -> int:
    """Do the work; returns the exit status.

    When the process that started this one, `parent`, is gone, this one ends before another build can have come to its
    jobs: a job that went on would publish into that one.
    """
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    try:
        work()
    except KeyboardInterrupt:
        return 130  # as shells have it; who interrupted knows why
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def end_with(parent: int) -> None:
    """End this process within a second when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
