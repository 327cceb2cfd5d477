"""Run the points of a sweep, then make its table and its summary:
snakemake --snakefile pipeline/sweep.smk --config sweep=FILE

As for the book, what must run is decided here, by content: all that Snakemake sees is that a file is missing. A job
is a worker, which runs one point after the other until none is left, so that a small run costs no start.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, "pipeline")
from sweep import check_sweep, load_sweep
from sweep_points import folder, missing_points, prepare
from sweep_table import made_files, remove_outdated

FILE, RETRY = Path(str(config.get("sweep", ""))), str(config.get("retry", "")) == "yes"
STARTED, PARENT = time.time(), os.getpid()
try:
    SWEEP = load_sweep(FILE)
    check_sweep(SWEEP)
except ValueError as error:
    raise SystemExit(str(error))
PLACE = folder(SWEEP)

# Two at once would run the same points. The lock goes with the process, however it ends.
PLACE.mkdir(parents=True, exist_ok=True)
lock = open(PLACE / "lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(f"the sweep {SWEEP.name} is running in this checkout already")

MISSING, WHY = missing_points(SWEEP, retry=RETRY)
print("\n".join([*WHY, f"{SWEEP.name}: {len(SWEEP.points)} points, {len(MISSING)} to run"]), flush=True)
prepare(SWEEP, MISSING)
remove_outdated(SWEEP, MISSING)
WORKERS = min(len(MISSING), max(1, workflow.cores // SWEEP.threads))


onstart:
    logger.setLevel("WARNING")  # the workers tell their progress


rule summary:
    input:
        expand(PLACE / "work/worker-{number}.done", number=range(WORKERS)),
    output:
        made_files(SWEEP),
    shell:
        # exec: Snakemake itself is the parent, and a job ends when its parent is gone, however that was ended.
        "exec {sys.executable:q} pipeline/sweep_table.py {FILE:q} --parent {PARENT}"


rule worker:
    output:
        PLACE / "work/worker-{number}.done",
    wildcard_constraints:
        number=r"\d+",
    threads: SWEEP.threads
    shell:
        # NPROC is what XLA asks for the number of its threads. Who shares a GPU takes of its memory what it needs.
        """
        XLA_PYTHON_CLIENT_PREALLOCATE=false NPROC={threads} OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads} \
            exec {sys.executable:q} pipeline/sweep_worker.py {FILE:q} --done {output:q} --started {STARTED} --parent {PARENT}
        """
