"""Run the notebooks of one profile, then build the book: snakemake --config profile=smoke

What must run is decided here, by content: whatever is published and not what a run would make now is removed
when this file is read, so that all Snakemake ever sees is that a file is missing. No rule names an input
that another rule does not make in the same build; times of change play no part.
"""

import atexit
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import psutil

sys.path.insert(0, "pipeline")
from current import book_record, notebooks_to_run, pages, published, remove_outdated
from fingerprint import load_profile, profile_file
from one_build import begin, begun
from resources import longest_first, requests
from run_notebook import check_values
from slurm import settle

PROFILE = config.get("profile", "standard")
profile_file(PROFILE)
PARENT = os.getpid()
BOOK, PAGES = book_record(PROFILE), pages(PROFILE)
CHECKED = False
# Where jobs are submitted, Snakemake reads this file on the node, too: all that looks at more than the one notebook, or
# removes anything, is left to the process that submitted it.
HERE = workflow.is_main_process
SUBMITS = HERE and workflow.nodes is not None

if HERE:
    lock, STARTED = begin(PROFILE)

    @atexit.register
    def tell_of_old_pages():
        if PAGES.exists() and not (CHECKED and BOOK.exists()):
            print(f"The pages of {PAGES} are from before", file=sys.stderr)

else:
    STARTED = begun(PROFILE)

try:
    PARAMETERS = load_profile(PROFILE)
except ValueError as error:
    raise SystemExit(str(error)) from None
REQUESTS, ORDER, TO_RUN = requests(PROFILE), longest_first(PROFILE), {}
if HERE:
    settle(PROFILE, submits=SUBMITS)
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


def stop(number, frame):
    """End now, with all that runs. Snakemake itself would wait for jobs, and call one that was ended a failure."""
    logger.setLevel("CRITICAL")
    name = signal.Signals(number).name
    os.write(2, f"Stopped by {name}: what had finished stays, the next build runs the rest\n".encode())
    for job in psutil.Process().children(recursive=True):
        try:
            job.kill()
        except psutil.NoSuchProcess:
            pass
    raise SystemExit  # for which the scheduler cancels what runs elsewhere


onstart:
    if not SUBMITS:
        logger.setLevel("WARNING")  # from here on each notebook tells its own progress
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a build in the background
            signal.signal(number, stop)


# In the smallest runs compiling is nearly all; where numbers are published XLA does its best.
QUICKLY = 'XLA_FLAGS="--xla_backend_optimization_level=0 ${XLA_FLAGS:-}"' if PROFILE.startswith("smoke") else ""


localrules:
    book,
    runs,


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


ON_GPU, ON_CLUSTER = PROFILE.startswith("gpu"), SUBMITS or not HERE
# `gpu=N` among Snakemake's resources: N notebooks at a time, with a GPU each.
GPUS = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources and not ON_CLUSTER else 0
# Nodes may have different CPUs: the module then keeps what they compile apart, by the kind of machine.
CACHE_OF_NODE = 'EARLYTIME_COMPILE_CACHE="${JAX_COMPILATION_CACHE_DIR:-}" JAX_COMPILATION_CACHE_DIR=' if ON_CLUSTER else ""
WITH_ONE_GPU = f"{shlex.quote(sys.executable)} pipeline/one_gpu.py {PARENT}" if GPUS else ""


rule notebook:
    output:
        **published("{name}", PROFILE)._asdict(),
    message:
        "{wildcards.name}: at most {resources.runtime} minutes and {resources.mem_mb} MB"
    wildcard_constraints:
        name="|".join(re.escape(name) for name in PARAMETERS),
    params:
        parameters=lambda wildcards: json.dumps(PARAMETERS[wildcards.name], sort_keys=True),
    priority: lambda wildcards: -ORDER.index(wildcards.name)
    # Compiling, much of most notebooks, keeps one core busy: two notebooks with half of the cores each are done
    # sooner than one after the other. On a GPU it is nearly all: eight share one. A job of Slurm has what it asked for.
    threads: 2 if ON_CLUSTER else max(1, workflow.cores // (GPUS or (8 if ON_GPU else 2)))
    resources:
        mem_mb=lambda wildcards: REQUESTS[wildcards.name].mem_mb,
        runtime=lambda wildcards: REQUESTS[wildcards.name].minutes,
        gpu=1 if GPUS or ON_CLUSTER and ON_GPU else 0,
    shell:
        # NPROC is what XLA asks for the number of its threads. Who shares a GPU takes of its memory what it needs.
        """
        {QUICKLY} {CACHE_OF_NODE} XLA_PYTHON_CLIENT_PREALLOCATE=false \
            NPROC={threads} OMP_NUM_THREADS={threads} \
            exec {WITH_ONE_GPU} {sys.executable:q} pipeline/run_notebook.py {wildcards.name:q} --profile {PROFILE} --parameters {params.parameters:q} \
            --started {STARTED} --checked --parent {PARENT}
        """
