"""Run notebooks as a Colab user does: each alone in an empty folder, where the module is not installed.

    run_notebooks.py [--newest] PYTHON [NOTEBOOK ...]

makes an environment with the interpreter PYTHON and the packages of `constraints.txt`, or, with --newest, with nothing
but what runs a notebook, so that pip takes the newest JAX. It then opens every notebook (or those that are named)
there: its first cell installs the module, from this checkout in place of its address, and all other cells run with
the parameters of the profile `smoke`. No package that was there may have changed, and every figure must have come
out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[2]
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
RUNNER = """
import sys, nbformat, nbclient
path = sys.argv[1]
notebook = nbformat.read(path, as_version=4)
try:
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=900).execute()
finally:
    nbformat.write(notebook, path)
"""


def packages(python: Path) -> dict[str, str]:
    """Name and version of everything that is installed."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    return {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}


def module_alone(folder: Path) -> Path:
    """A copy of what the module is built from, so that building leaves nothing in the checkout."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    return folder


def prepared(name: str, module: Path, parameters: dict) -> nbformat.NotebookNode:
    """The notebook with the module's place in its first cell, and with these parameters.

    **Raises** `ValueError` if its first cell does not say where the module is.
    """
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    lines = first.source.splitlines()
    sources = [i for i, line in enumerate(lines) if line.strip().startswith("_source = ")]
    if len(sources) != 1:
        raise ValueError(f"{name}: expected one line with _source in its first cell, got {len(sources)}")
    lines[sources[0]] = f'    _source = "{module.as_uri()}"'
    first.source = "\n".join(lines)
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    given = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(at + 1, new_code_cell(given))
    return notebook


def pictures_missing(notebook: nbformat.NotebookNode) -> list[str]:
    """The first lines of the cells that should have put out a picture, as their alternative text says, and did not.

    Of the verdicts on CIFAR-10 there is none without the archive: that cell's tag is `may-draw-nothing`.
    """
    drawing = [cell for cell in notebook.cells if "mystnb" in cell.metadata and cell.cell_type == "code"]
    drawing = [cell for cell in drawing if "may-draw-nothing" not in cell.metadata.get("tags", [])]
    shows = lambda cell: any(key.startswith("image/") for output in cell.outputs for key in output.get("data", {}))
    return [cell.source.partition("\n")[0] for cell in drawing if not shows(cell)]


def run(name: str, python: Path, module: Path, folder: Path, parameters: dict) -> list[str]:
    """Run one notebook in an empty folder; returns what is wrong."""
    before = packages(python)
    folder.mkdir(parents=True)
    path = folder / "notebook.ipynb"
    nbformat.write(prepared(name, module, parameters), path)
    # A backend that shows nothing must not matter, nor may the programs of another environment.
    settings = os.environ | {"MPLBACKEND": "Agg", "EARLYTIME_COMPILE_CACHE": "off"}
    settings.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", RUNNER, path.name], cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    faults = []
    if done.returncode:
        faults.append(done.stdout.decode(errors="replace")[-3000:])
    elif missing := pictures_missing(nbformat.read(path, as_version=4)):
        faults.append(f"no picture below {missing}")
    after = packages(python)
    if changed := {package: after.get(package) for package in before if after.get(package) != before[package]}:
        faults.append(f"changed packages that were there: {changed}")
    if added := sorted(after.keys() - before.keys()):
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *added], check=True)
    else:
        faults.append("the first cell installed nothing")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--newest", action="store_true", help="with the newest JAX in place of Colab's packages")
    parser.add_argument("python", help="the interpreter to make the environment with")
    parser.add_argument("notebooks", nargs="*", help="such as hu2020/figure_1; all without any")
    arguments = parser.parse_args()
    profile = yaml.safe_load((ROOT / "pipeline/profiles/smoke.yaml").read_text())
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        subprocess.run([arguments.python, "-m", "venv", place / "venv"], check=True)
        python = place / "venv/bin/python"
        wanted = ["ipykernel", "nbclient"] if arguments.newest else ["-r", CONSTRAINTS]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (place / "module").mkdir()
        module = module_alone(place / "module")
        for name in arguments.notebooks or profile:
            faults = run(name, python, module, place / "runs" / name, profile[name])
            print(name, "\n".join(faults) if faults else "passed", flush=True)
            failed += [name] if faults else []
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
