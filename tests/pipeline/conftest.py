"""A tiny checkout, with notebooks that take no time, for the tests of what runs them."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "pipeline"))


@pytest.fixture
def write_notebook():
    def write(path: Path, *code: str, parameters: str = 'seed = 0\nresults_path = ""') -> None:
        cells = [new_markdown_cell("# A notebook"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=cells + [new_code_cell(source) for source in code]), path)

    return write


@pytest.fixture
def checkout(tmp_path, monkeypatch, write_notebook):
    """A folder with the pipeline and the module of this one, and the notebooks `first` and `part/second`."""
    for name in ("pipeline", "profiles", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "Snakefile"):
        shutil.copy(ROOT / name, tmp_path)
    for profile in (tmp_path / "pipeline/profiles").glob("*.yaml"):
        profile.write_text("{}\n")
    write_notebook(tmp_path / "notebooks/first.ipynb", "seed")
    write_notebook(tmp_path / "notebooks/part/second.ipynb", "seed")
    monkeypatch.chdir(tmp_path)
    return tmp_path
