"""Build the pages of one profile from what its notebooks published."""

import argparse
import contextlib
import os
import shutil
import sys
from pathlib import Path

from current import book_record, changed, notebooks_to_run, pages, remove, write_record
from fingerprint import book_fingerprint, folder_hash
from job import run_job
from jupyter_book.cli.main import main as jupyter_book


def check_notebooks(profile: str) -> None:
    """**Raises** `RuntimeError` if a source has changed since its notebook ran in this build."""
    if found := notebooks_to_run(profile):
        raise RuntimeError(f"{', '.join(found)}: changed during the build; build again")


def build(profile: str) -> None:
    """Make the pages beside the old ones, and put them in their place when all went well.

    **Raises** `RuntimeError` if what they are made of changed meanwhile, and `SystemExit` with the code of
    jupyter-book if that finds fault with a page.
    """
    place = Path("_build", profile)
    stage, sphinx = place / "stage", place / "sphinx"
    fingerprint = book_fingerprint(profile)
    check_notebooks(profile)
    remove(stage / "book")
    remove(sphinx)
    shutil.copytree("book", stage / "book")
    os.environ["EARLYTIME_RESULTS"] = str(place / "results")
    command = ["build", str(stage), "-q", "--config", "_config.yml", "--toc", str(Path("_toc.yml").absolute())]
    command += ["--path-output", str(sphinx), "--all", "-W", "--keep-going", "-n"]
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        jupyter_book(command, standalone_mode=False)
    check_notebooks(profile)
    if parts := changed(fingerprint, book_fingerprint(profile)):
        raise RuntimeError(f"{parts} changed during the build; build again")
    remove(pages(profile))
    os.replace(sphinx / "_build/html", pages(profile))
    made = sphinx / "book.json"
    write_record(made, fingerprint, {"html": folder_hash(pages(profile))})
    os.replace(made, book_record(profile))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--parent", type=int, required=True, help="the process to end with")
    arguments = parser.parse_args()
    print("Building the book", flush=True)
    return run_job(lambda: build(arguments.profile), parent=arguments.parent)


if __name__ == "__main__":
    sys.exit(main())
