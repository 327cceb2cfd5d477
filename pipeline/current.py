"""What is published under `_build/PROFILE`, and whether it is what a run would make now.

A notebook publishes three files: the executed notebook, its results, and a record of the run. The record
holds the fingerprint of what ran and the hashes of the other two, so a file that is missing, altered, cut
short, or from before a change does not count. `book.json` does the same for the pages.
"""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from fingerprint import book_fingerprint, file_hash, folder_hash, load_profile, notebook_fingerprint


class Published(NamedTuple):
    """Where the three files of a notebook are; the record is the last to be written."""

    notebook: Path
    results: Path
    record: Path


def published(name: str, profile: str) -> Published:
    build = Path("_build", profile)
    return Published(
        build / "stage/notebooks" / f"{name}.ipynb",
        build / "results" / f"{name}.json",
        build / "results" / f"{name}.run.json",
    )


def pages(profile: str) -> Path:
    return Path("_build", profile, "html")


def book_record(profile: str) -> Path:
    return Path("_build", profile, "book.json")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_record(path: Path, fingerprint: dict[str, str], hashes: dict[str, str], **facts: object) -> None:
    path.write_text(json.dumps({**facts, "fingerprint": fingerprint, "sha256": hashes}, indent=1) + "\n")


def publish(made: Published, name: str, profile: str) -> None:
    """Move the three files into place. A crash in between leaves hashes that do not agree."""
    for source, place in zip(made, published(name, profile), strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, place)


def changed(before: dict[str, str], after: dict[str, str]) -> str:
    """The parts of a fingerprint that differ, such as `the source, the parameters`; empty if none does."""
    parts = [part for part in {**after, **before} if before.get(part) != after.get(part)]
    return ", ".join(f"the {part}" for part in parts)


def _why_outdated(record: Path, fingerprint: dict[str, str], files: dict[str, Path]) -> str | None:
    """`None` if all is current, "" if nothing is there, and otherwise why it does not count."""
    if not record.exists() and not any(path.exists() for path in files.values()):
        return ""
    for path in (record, *files.values()):
        if not path.exists():
            return f"{path} is gone"
    try:
        said = json.loads(record.read_text())
        before, hashes = dict(said["fingerprint"]), dict(said["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{record} was cut short or altered, or is from an older version"
    for kind, path in files.items():
        if (folder_hash if path.is_dir() else file_hash)(path) != hashes.get(kind):
            return f"{path} was cut short or altered"
    if parts := changed(before, fingerprint):
        return f"{parts} changed"
    return None


def notebooks_to_run(profile: str) -> dict[str, str]:
    """The notebooks whose published files are not current, and why ("" where nothing is published)."""
    found = {}
    for name, parameters in load_profile(profile).items():
        files = published(name, profile)
        why = _why_outdated(
            files.record,
            notebook_fingerprint(name, profile, parameters),
            {"notebook": files.notebook, "results": files.results},
        )
        if why is not None:
            found[name] = why
    return found


def other_results(profile: str) -> dict[str, Path]:
    """Where other runs of the same notebooks are, by what the page calls them.

    That is with other seeds, where all have run with what is here now, and on the machines of `results/`.
    """
    seeds = sorted(int(path.name.rsplit("-", 1)[1]) for path in Path("_build").glob(f"{profile}-seed-*"))
    found = {f"seed {seed}": Path("_build", f"{profile}-seed-{seed}", "results") for seed in seeds}
    found = {label: path for label, path in found.items() if not notebooks_to_run(path.parent.name)}
    machines = {path.name: path for path in sorted(Path("results").glob("*")) if path.name != profile}
    return found | {name: path for name, path in machines.items() if any(path.rglob("*.run.json"))}


def pages_fingerprint(profile: str) -> dict[str, str]:
    """Hashes of all that the pages show or are made with."""
    return book_fingerprint(profile, other_results(profile))


def why_build(profile: str) -> str | None:
    """Why the pages are not what the sources and the results say: `None` if they are, "" after a failed build."""
    if not book_record(profile).exists():
        return ""
    return _why_outdated(book_record(profile), pages_fingerprint(profile), {"html": pages(profile)})


def _remove_strays(profile: str) -> None:
    """Remove what no notebook of now has published: one that was renamed or removed would still be read."""
    build, names = Path("_build", profile), load_profile(profile)
    files = {path for name in names for path in published(name, profile)}
    work = {build / "work" / name for name in names}
    for folder in (build / "stage/notebooks", build / "results", build / "work"):
        for path in sorted(folder.rglob("*")):
            needed = path in files or any(place in (path, *path.parents) for place in work)
            leads_on = path.is_dir() and any(path in place.parents for place in (*files, *work))
            if not needed and not leads_on:
                if path.suffix == ".ipynb" and folder.name == "notebooks":
                    print(f"notebooks/{path.relative_to(folder)} is no more: removing what it left", flush=True)
                remove(path)


def remove_outdated(profile: str, to_run: dict[str, str]) -> None:
    """Remove all that does not count, so that it is missing, and say in a line each why it is made again."""
    _remove_strays(profile)
    reasons: dict[str, list[str]] = {}
    for name, reason in to_run.items():
        reasons.setdefault(reason, []).append(name)
        for path in reversed(published(name, profile)):
            remove(path)
    for reason, names in reasons.items():
        if reason:
            print(f"{reason}: running {', '.join(names) if len(names) <= 3 else f'{len(names)} notebooks'} again")
    why = why_build(profile)
    if why and not to_run:
        print(f"{why}: building the book again", flush=True)
    if to_run or why is not None:
        remove(book_record(profile))
