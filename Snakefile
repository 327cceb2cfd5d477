"""Run the notebooks of one profile, then build the book: snakemake --config profile=smoke

What must run is decided here, by content: whatever is published and not what a run would make now is removed
when this file is read, so that all Snakemake ever sees is that a file is missing. No rule names an input
that another rule does not make in the same build; times of change play no part.
"""

import atexit
import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, "pipeline")
from current import book_record, notebooks_to_run, pages, published, remove_outdated
from fingerprint import load_profile, profile_file
from run_notebook import check_values

PROFILE = config.get("profile", "standard")
profile_file(PROFILE)
STARTED, PARENT = time.time(), os.getpid()
BOOK, PAGES = book_record(PROFILE), pages(PROFILE)
CHECKED = False

# Two builds of one profile would write the same files. The lock goes with the process, however it ends.
BOOK.parent.mkdir(parents=True, exist_ok=True)
lock = open(BOOK.with_name("lock"), "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(f"another build of the profile {PROFILE} is running in this checkout")


@atexit.register
def tell_of_old_pages():
    if PAGES.exists() and not (CHECKED and BOOK.exists()):
        print(f"The pages of {PAGES} are from before", file=sys.stderr)


PARAMETERS = load_profile(PROFILE)
TO_RUN = notebooks_to_run(PROFILE)
REFUSED = []
for name in TO_RUN:
    try:
        check_values(Path(f"notebooks/{name}.ipynb"), PARAMETERS[name])
    except ValueError as error:
        REFUSED.append(str(error))
if REFUSED:
    raise SystemExit("\n".join(REFUSED))
remove_outdated(PROFILE, TO_RUN)
CHECKED = True
if BOOK.exists():
    print(f"The book in {PAGES} is current", flush=True)
    logger.setLevel("WARNING")


onstart:
    logger.setLevel("WARNING")  # from here on each notebook tells its own progress


# In the smallest runs compiling is nearly all; where numbers are published XLA does its best.
QUICKLY = 'XLA_FLAGS="--xla_backend_optimization_level=0 ${XLA_FLAGS:-}"' if PROFILE.startswith("smoke") else ""


rule book:
    input:
        [path for name in TO_RUN for path in published(name, PROFILE)],
    output:
        BOOK,
    shell:
        # exec: Snakemake itself is the parent, and a job ends when its parent is gone, however that was ended.
        "exec {sys.executable:q} pipeline/build_book.py --profile {PROFILE} --parent {PARENT}"


# The notebooks alone.
rule runs:
    input:
        [path for name in TO_RUN for path in published(name, PROFILE)],


# These take longest, in this order; one that starts last decides when the book is done.
LONGEST = [
    "hu2020/figure_4",
    "hu2020/figure_1",
    "lee2019/robustness",
    "liu2020/where_it_fails",
    "liu2020/hessian_scaling",
    "hu2020/deep",
    "quickstart",
]


rule notebook:
    output:
        **published("{name}", PROFILE)._asdict(),
    wildcard_constraints:
        name="|".join(re.escape(name) for name in PARAMETERS),
    params:
        parameters=lambda wildcards: json.dumps(PARAMETERS[wildcards.name], sort_keys=True),
    priority: lambda wildcards: len(LONGEST) - LONGEST.index(wildcards.name) if wildcards.name in LONGEST else 0
    # Compiling, much of most notebooks, keeps one core busy: two notebooks with half of the cores each are done
    # sooner than one after the other. On a GPU it is nearly all: eight share one.
    threads: max(1, workflow.cores // (8 if PROFILE.startswith("gpu") else 2))
    shell:
        # NPROC is what XLA asks for the number of its threads. Who shares a GPU takes of its memory what it needs.
        """
        {QUICKLY} XLA_PYTHON_CLIENT_PREALLOCATE=false \
            NPROC={threads} OMP_NUM_THREADS={threads} \
            exec {sys.executable:q} pipeline/run_notebook.py {wildcards.name:q} --profile {PROFILE} --parameters {params.parameters:q} \
            --started {STARTED} --checked --parent {PARENT}
        """
