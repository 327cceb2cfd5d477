"""The real jupyter-book, on a page or two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from current import why_build
from tiny_checkout import ROOT

OLD = Path("_build/smoke/html/old.html")


@pytest.fixture
def book(checkout):
    """A checkout without notebooks, with one page, the real configuration, and pages of an earlier build."""
    for notebook in Path("notebooks").rglob("*.ipynb"):
        notebook.unlink()
    for name in ("_config.yml", "book/references.bib"):
        Path(name).write_text((ROOT / name).read_text())
    Path("_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    Path("book/static").mkdir()
    Path("book/static/earlytime.css").touch()
    OLD.parent.mkdir(parents=True)
    OLD.touch()
    return checkout


def build_book():
    real = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "pipeline/build_book.py", "--profile", "smoke", "--parent", str(os.getpid())]
    return subprocess.run(command, capture_output=True, text=True, env=real)


def test_pages_take_the_place_of_the_old_ones(book):
    result = build_book()
    assert result.returncode == 0 and result.stdout == "Building the book\n", result.stderr
    assert "The book" in Path("_build/smoke/html/book/index.html").read_text()
    assert not OLD.exists()
    assert why_build("smoke") is None


def test_a_fault_in_a_page_is_told_and_the_old_pages_stay(book):
    Path("book/index.md").write_text("# The book\n\n{ref}`nowhere`\n")
    result = build_book()
    assert result.returncode != 0 and "nowhere" in result.stderr
    assert OLD.exists() and why_build("smoke") == ""
