"""A tiny checkout, with notebooks that take no time, and how it is built."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]

RESULTS = Path("_build/smoke/results")
STAGE = Path("_build/smoke/stage/notebooks")
CURRENT = "The book in _build/smoke/html is current"
FROM_BEFORE = "The pages of _build/smoke/html are from before"
WAIT = "import pathlib, time\npathlib.Path('running').touch()\nwhile not pathlib.Path('go').exists(): time.sleep(0.1)"

CHECK = "from earlytime import rules\n\net.check_parameters(globals(), seed=rules.seed, results_path=rules.path)"
SAY = """et.record("{word}", seed, results_path)
print("{word}", seed)"""

# What takes the notebooks and the book their time, in small. It stands before the real ones on Python's path.
STAND_INS = {
    "earlytime/__init__.py": """
import json

RUN = {
    "device": "none", "versions": {"earlytime": "0"}, "revision": None, "dirty": None,
    "seconds_compiling": 3.75, "programs": 3, "from_cache": 2, "peak_memory": {"host": 12345678, "device": None},
}

def check_parameters(namespace, /, **rules):
    for name, holds in rules.items():
        if not holds(namespace[name]):
            raise ValueError(f"{name}: got {namespace[name]!r}")
    if namespace["results_path"]:
        json.dump({"run": RUN, "claims": {}}, open(namespace["results_path"], "w"))

def record(word, seed, results_path):
    json.dump({"run": RUN, "claims": {word: seed}}, open(results_path, "w"))
""",
    "earlytime/rules.py": "seed = path = lambda value: not isinstance(value, list)\n",
    "jupyter_book/__init__.py": "",
    "jupyter_book/cli/__init__.py": "",
    # The page says what each executed notebook has printed and recorded.
    "jupyter_book/cli/main.py": """
import json, os, time
from pathlib import Path

def main(command, standalone_mode):
    stage, made = Path(command[1]), Path(command[command.index("--path-output") + 1], "_build/html")
    page = Path(stage, "book/index.md").read_text()
    for path in sorted(Path(os.environ["EARLYTIME_RESULTS"]).rglob("*.run.json")):
        name = path.relative_to(os.environ["EARLYTIME_RESULTS"]).as_posix().removesuffix(".run.json")
        cells = json.loads(Path(stage, "notebooks", name + ".ipynb").read_text())["cells"]
        printed = "".join(text for cell in cells for each in cell.get("outputs", []) for text in each.get("text", []))
        recorded = json.loads(path.with_name(path.name.replace(".run", "")).read_text())["claims"]
        page += f"{name} printed {printed.strip()}, recorded {recorded}\\n"
    if Path("meanwhile.py").exists():
        exec(Path("meanwhile.py").read_text())
    made.mkdir(parents=True)
    Path(made, "index.html").write_text(page)
""",
}


def write(path: Path | str, *code: str, parameters: str = 'seed = 0\nresults_path = ""') -> None:
    """Write a notebook that imports the module, has these parameters, checks them, and goes on with `code`."""
    cells = [new_markdown_cell("# A notebook"), new_code_cell("import earlytime as et")]
    cells += [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(CHECK)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells + [new_code_cell(source) for source in code]), path)


def say(word: str) -> str:
    """A cell that prints and records a word, and the seed."""
    return SAY.format(word=word)


def page(**words: str) -> str:
    """The page of a book whose notebooks say these words, such as `first="hello 0"`."""
    lines = []
    for name, said in sorted((name if name == "first" else f"part/{name}", said) for name, said in words.items()):
        word, seed = said.split()
        lines.append(f"{name} printed {said}, recorded {{'{word}': {seed}}}\n")
    return "# The book\n" + "".join(lines)


def shown(profile: str = "smoke") -> str:
    return Path(f"_build/{profile}/html/index.html").read_text()


# Before a command. What runs in the background of a shell ignores SIGINT, and hands that on.
INTERRUPTED = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)
CAN_BE_INTERRUPTED = [sys.executable, "-c", INTERRUPTED]


def snakemake(*arguments: str, profile: str = "smoke", **kwargs) -> subprocess.Popen:
    command = [*CAN_BE_INTERRUPTED, sys.executable, "-m", "snakemake", *arguments, "--config", f"profile={profile}"]
    kwargs = {"env": {**os.environ, "PYTHONPATH": "stand_ins"}, "stdout": subprocess.PIPE, **kwargs}
    return subprocess.Popen(command, stderr=subprocess.STDOUT, text=True, **kwargs)


def output_of(process: subprocess.Popen) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def ran(printed: str) -> set[str]:
    return set(re.findall(r"\] (\S+) done \(", printed))


def make_checkout(folder: Path) -> None:
    """The pipeline of this checkout, its module, and the notebooks `first`, `part/second` and `part/third`."""
    for name in ("pipeline", "profiles", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "Snakefile", *(path.name for path in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / name, folder)
    for profile in (folder / "pipeline/profiles").glob("*.yaml"):
        profile.write_text("{}\n")
    for name, content in {"book/index.md": "# The book\n", "_config.yml": "", "_toc.yml": ""}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    for name, content in STAND_INS.items():
        (folder / "stand_ins" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "stand_ins" / name).write_text(content)
    for name in ("first", "part/second", "part/third"):
        write(folder / f"notebooks/{name}.ipynb", say(Path(name).name))


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def build():
    """Builds, and returns the exit code, the notebooks that ran to their end, and what was printed."""
    code, printed = output_of(snakemake())
    print(printed)
    return code, ran(printed), printed


def assert_builds(runs, **words):
    """The next build runs these notebooks, and then the pages show these words."""
    code, names, printed = build()
    assert code == 0 and names == runs
    assert shown() == page(**words)
    assert FROM_BEFORE not in printed
    return printed


def assert_current():
    """The next build has nothing to do, and says so."""
    code, names, printed = build()
    assert code == 0 and not names and CURRENT in printed and "Building" not in printed


def assert_fails(*names, runs=frozenset()):
    code, done, printed = build()
    assert code != 0 and done == set(runs)
    assert FROM_BEFORE in printed.splitlines()[-1] and CURRENT not in printed
    assert all(f"{name} failed" in printed for name in names)
    return printed


def stop(process, send):
    """End a build from outside, and wait until what it started is gone."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    send()
    assert process.wait(60) != 0
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
    output_of(process)


def make_environment(folder: Path) -> None:
    """What `make setup` and its kin leave in a checkout; the Python is the one that runs here, with the stand-ins."""
    (folder / "pyproject.toml").touch()
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexport PYTHONPATH=stand_ins\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    sums = subprocess.run(
        "cat requirements.txt pyproject.toml | cksum", shell=True, cwd=folder, capture_output=True, text=True
    )
    (folder / ".venv/ready").write_text(f"{folder} {sums.stdout}")
    for each in ("slurm", "cuda12", "cuda13"):
        (folder / f".venv/ready-{each}").touch()


def commands_of(page: str, heading: str) -> list[str]:
    """The blocks of commands in a section of a page of the book."""
    (section,) = (each for each in (ROOT / page).read_text().split("\n## ") if each.startswith(f"{heading}\n"))
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def type_in(commands: str) -> tuple[int, str]:
    """Run commands in the current checkout as a reader would, outside this run of make or pytest."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PROFILE", "PYTHON", "RESULTS")}
    environment = {name: value for name, value in environment.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["bash", "-euc", commands]
    return output_of(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    )
