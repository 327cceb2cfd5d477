"""Build the pages of one profile from what its notebooks published, or from a bundle."""

import argparse
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import bundle
from current import (
    book_record,
    changed,
    notebooks_to_run,
    other_results,
    pages,
    pages_fingerprint,
    remove,
    write_record,
)
from fingerprint import folder_hash
from job import run_job
from jupyter_book.cli.main import main as jupyter_book


def check_notebooks(profile: str) -> None:
    """**Raises** `RuntimeError` if a source has changed since its notebook ran in this build."""
    if found := notebooks_to_run(profile):
        raise RuntimeError(f"{', '.join(found)}: changed during the build; build again")


def render(place: Path, profile: str, builder: str = "html") -> Path:
    """The pages made from `stage/notebooks` and `results` in a folder; returns where they are, beside the old ones.

    Other runs of the profile's notebooks that are here are shown beside. `builder` is jupyter-book's: html, singlehtml.

    **Raises** `SystemExit` with the code of jupyter-book if that finds fault with a page.
    """
    stage, sphinx = place / "stage", place / "sphinx"
    remove(stage / "book")
    remove(sphinx)
    shutil.copytree("book", stage / "book")
    os.environ["EARLYTIME_RESULTS"] = str(place / "results")
    others = {label: str(path) for label, path in other_results(profile).items()}
    os.environ["EARLYTIME_OTHER_RESULTS"] = json.dumps(others)
    command = ["build", str(stage), "-q", "--config", "_config.yml", "--toc", str(Path("_toc.yml").absolute())]
    command += ["--path-output", str(sphinx), "--builder", builder, "--all"]
    command += ["-W", "--keep-going", "-n"] if builder == "html" else []  # one page has other targets
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        jupyter_book(command, standalone_mode=False)
    return sphinx / "_build" / builder


def build(profile: str) -> None:
    """Make the pages beside the old ones, and put them in their place when all went well.

    **Raises** `RuntimeError` if what they are made of changed meanwhile, and as `render`.
    """
    place = Path("_build", profile)
    fingerprint = pages_fingerprint(profile)
    check_notebooks(profile)
    made = render(place, profile)
    check_notebooks(profile)
    if parts := changed(fingerprint, pages_fingerprint(profile)):
        raise RuntimeError(f"{parts} changed during the build; build again")
    remove(pages(profile))
    os.replace(made, pages(profile))
    record = place / "sphinx/book.json"
    write_record(record, fingerprint, {"html": folder_hash(pages(profile))})
    os.replace(record, book_record(profile))


def build_bundle(path: Path, *, other_sources: bool) -> None:
    """Make the pages from a bundle, in `_build/bundle/html`; **raises** as `bundle.unpack` and `render`."""
    profile, banner = bundle.unpack(path, other_sources=other_sources)
    if banner:
        os.environ["EARLYTIME_BANNER"] = banner
    os.replace(render(bundle.PLACE, profile), bundle.PLACE / "html")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--profile")
    what.add_argument("--bundle", type=Path, help="a file that `make bundle` wrote")
    parser.add_argument("--other-sources", action="store_true", help="render it whatever sources it was made from")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    arguments = parser.parse_args()
    print("Building the book", flush=True)
    if arguments.bundle:
        work = lambda: build_bundle(arguments.bundle, other_sources=arguments.other_sources)
    else:
        work = lambda: build(arguments.profile)
    return run_job(work, parent=arguments.parent)


if __name__ == "__main__":
    sys.exit(main())
