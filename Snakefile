"""Run the notebooks of one profile, then build the book: snakemake --config profile=smoke"""

import fcntl
import json
import sys
import time
from pathlib import Path

import yaml

sys.path.insert(0, "pipeline")
from run_notebook import source_notebooks

PROFILE = config.get("profile", "standard")
PROFILES = sorted(path.stem for path in Path("pipeline/profiles").glob("*.yaml"))
if PROFILE not in PROFILES:
    raise ValueError(f"profile: expected one of {PROFILES}, got {PROFILE!r}")
PARAMETERS = yaml.safe_load(Path(f"pipeline/profiles/{PROFILE}.yaml").read_text()) or {}
NAMES = source_notebooks()
BUILD = f"_build/{PROFILE}"
STARTED = time.time()
if unknown := sorted(set(PARAMETERS) - set(NAMES)):
    raise ValueError(f"pipeline/profiles/{PROFILE}.yaml names {unknown}, which are not in notebooks/")

# Two builds of one profile would write the same files. The lock goes with the process, however it ends.
Path(BUILD).mkdir(parents=True, exist_ok=True)
lock = open(f"{BUILD}/lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(f"another build of the profile {PROFILE} is running in this checkout")

# What a notebook that has since been renamed or removed left here would still be read.
for made in Path(BUILD, "results").rglob("*.json"):
    if made.relative_to(f"{BUILD}/results").as_posix().removesuffix(".json").removesuffix(".run") not in NAMES:
        made.unlink()


def files(folder, pattern):
    return sorted(str(path) for path in Path(folder).rglob(pattern) if path.is_file())


onstart:
    logger.setLevel("WARNING")  # from here on each notebook tells its own progress


rule book:
    input:
        expand(f"{BUILD}/stage/notebooks/{{name}}.ipynb", name=NAMES),
        expand(f"{BUILD}/results/{{name}}{{kind}}.json", name=NAMES, kind=["", ".run"]),
        files("book", "*"),
        files("pipeline", "*.py"),
        "_config.yml",
        "_toc.yml",
    output:
        f"{BUILD}/html/index.html",
    params:
        jupyter_book=str(Path(sys.executable).with_name("jupyter-book")),
    shell:
        """
        echo "Building the book"
        rm -rf {BUILD}/stage/book {BUILD}/sphinx
        cp -R book {BUILD}/stage/book
        EARLYTIME_RESULTS={BUILD}/results {params.jupyter_book:q} build {BUILD}/stage -q \
            --config _config.yml --toc "$PWD/_toc.yml" --path-output {BUILD}/sphinx --all -W --keep-going -n >/dev/null
        rm -rf {BUILD}/html
        mv {BUILD}/sphinx/_build/html {BUILD}/html
        """


rule notebook:
    input:
        notebook="notebooks/{name}.ipynb",
        module=files("src/earlytime", "*.py") + files("src/earlytime", "claims.yaml"),
    output:
        notebook=f"{BUILD}/stage/notebooks/{{name}}.ipynb",
        results=f"{BUILD}/results/{{name}}.json",
        record=f"{BUILD}/results/{{name}}.run.json",
    wildcard_constraints:
        name=r"[\w/]+",
    params:
        parameters=lambda wildcards: json.dumps(PARAMETERS.get(wildcards.name) or {}, sort_keys=True),
    # Compiling, half of most notebooks, keeps one core busy: two notebooks with half of the cores each are done
    # sooner than one after the other. A GPU is not shared.
    threads: workflow.cores if PROFILE == "gpu" else max(1, workflow.cores // 2)
    shell:
        # NPROC is what XLA asks for the number of its threads. exec: Snakemake itself is the parent, so the run
        # sees when Snakemake is killed.
        """
        NPROC={threads} OMP_NUM_THREADS={threads} exec {sys.executable:q} pipeline/run_notebook.py \
            {wildcards.name} --profile {PROFILE} --parameters {params.parameters:q} --started {STARTED}
        """
