"""A run that travels: what the notebooks of one profile published, in one file that says what made it."""

import argparse
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

from current import notebooks_to_run, published, remove
from fingerprint import load_profile, notebook_fingerprint, source_notebooks

FORMAT = 1
LARGEST = 2**30  # bytes, unpacked
PLACE = Path("_build/bundle")
LIST = "bundle.json"
# Of all that a run depends on, what a checkout says; Python, the packages and the images are the other machine's.
SOURCES = ("source", "parameters", "module", "program that runs it")
_REVISION = re.compile(r"[0-9a-f]{7,64}( with changes)?|unknown")
_NAME = re.compile(r"(notebooks|results)(/[A-Za-z0-9_-]+)+(\.ipynb|\.run\.json|\.json)")


def sources(profile: str) -> dict[str, dict[str, str]]:
    """Of every notebook here, the hashes of what its run in this profile is made from."""
    found = {}
    for name, parameters in load_profile(profile).items():
        fingerprint = notebook_fingerprint(name, profile, parameters)
        found[name] = {part: fingerprint[part] for part in SOURCES}
    return found


def revision() -> str:
    """The commit of this checkout, with a word if it has changes; "unknown" outside of git."""
    git = lambda *arguments: subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout
    try:
        return git("rev-parse", "HEAD").strip() + (" with changes" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def pack(profile: str, path: Path) -> None:
    """Write the bundle; the same run makes the same bytes.

    **Raises** `ValueError` if a notebook has not run, or not with what is here now.
    """
    if found := notebooks_to_run(profile):
        raise ValueError(f"{', '.join(found)}: not run with what is here now; first `make book PROFILE={profile}`")
    files = {}
    for name in source_notebooks():
        made = published(name, profile)
        files[f"notebooks/{name}.ipynb"] = made.notebook.read_bytes()
        files[f"results/{name}.json"] = made.results.read_bytes()
        files[f"results/{name}.run.json"] = made.record.read_bytes()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    about = {"format": FORMAT, "profile": profile, "revision": revision(), "sources": sources(profile), "files": hashes}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, content in {LIST: json.dumps(about, indent=1).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _contents(path: Path) -> dict[str, bytes]:
    """Name and content of everything in the archive; **raises** `ValueError` if that is not a whole bundle."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    files: dict[str, bytes] = {}
    try:
        unpacked = io.BytesIO()
        with gzip.open(path) as raw:
            while part := raw.read(2**20):  # up to the checksum; what a few bytes are packed from may be endless
                if unpacked.tell() + len(part) > LARGEST:
                    raise ValueError(f"{path}: holds more than {LARGEST:,} bytes")
                unpacked.write(part)
        unpacked.seek(0)
        with tarfile.open(fileobj=unpacked, mode="r:") as archive:
            for member in archive:
                # one with holes may be larger than all that is there
                if (
                    not member.isreg()
                    or member.issparse()
                    or (member.name != LIST and not _NAME.fullmatch(member.name))
                ):
                    raise ValueError(f"{path}: holds {member.name!r}, which is not a file of a bundle")
                if member.name in files:
                    raise ValueError(f"{path}: holds {member.name} twice")
                files[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]  # a regular file
    except (OSError, EOFError, tarfile.TarError, zlib.error, RecursionError) as error:
        raise ValueError(f"{path}: cut short, or not a bundle ({error})") from None
    return files


def read(path: Path) -> tuple[dict, dict[str, bytes]]:
    """What a bundle says of itself, and its files, complete and unaltered.

    **Raises** `ValueError` for one that is cut short, altered, or holds anything else than the files it lists.
    """
    files = _contents(path)
    try:
        about = json.loads(files.pop(LIST))
        listed, kind = dict(about["files"]), about["format"]
        complete = {f"notebooks/{n}.ipynb" for n in about["sources"]}
        complete |= {f"results/{n}.{end}" for n in about["sources"] for end in ("json", "run.json")}
        if not all(isinstance(hashes, dict) for hashes in about["sources"].values()):
            raise ValueError
        if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in {*listed, *complete}):
            raise ValueError
        # both are shown, one of them in the pages
        if not re.fullmatch(r"[\w-]+", about["profile"], re.ASCII) or not _REVISION.fullmatch(about["revision"]):
            raise ValueError
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{path}: has no list of its files, {LIST}") from None
    if kind != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {kind!r}")
    for name in sorted({*listed, *files, *complete}):
        if name not in files:
            raise ValueError(f"{path}: cut short: {name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != listed.get(name):
            raise ValueError(f"{path}: {name} was altered")
    return about, files


def differences(about: dict) -> str:
    """What here is not what the bundle was made from, such as `the module; the source of figure_1`; "" if all is."""
    if about["profile"] not in {path.stem for path in Path("pipeline/profiles").glob("*.yaml")}:
        return f"the profile {about['profile']}"
    here, there = sources(about["profile"]), about["sources"]
    changed: dict[str, list[str]] = {}
    for name in sorted({*here, *there}):
        for part in SOURCES:
            if here.get(name, {}).get(part) != there.get(name, {}).get(part):
                changed.setdefault(part, []).append(name)
    of = lambda names: "" if set(names) == {*here, *there} else f" of {', '.join(names)}"
    return "; ".join(f"the {part}{of(names)}" for part, names in changed.items())


def unpack(path: Path, *, other_sources: bool = False) -> tuple[str, str]:
    """Put a bundle's files under `_build/bundle`.

    Returns its profile, and what a banner has to say: "" if the sources are those here.

    **Raises** `ValueError` as `read`, and if the sources differ and that was not asked for; then nothing is written.
    """
    about, files = read(path)
    banner = ""
    if differ := differences(about):
        if not other_sources:
            hint = "OTHER_SOURCES=yes renders it all the same, with a banner"
            raise ValueError(f"{path}: made from other sources, of revision {about['revision']}: {differ}; {hint}")
        banner = f"These numbers were measured with the sources of revision {about['revision']}, not with those shown."
    remove(PLACE)
    for name, content in files.items():
        place = PLACE / ("stage" if name.startswith("notebooks/") else "") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return about["profile"], banner


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", help="whose run is packed")
    parser.add_argument("path", type=Path, help="the file to write")
    arguments = parser.parse_args()
    try:
        pack(arguments.profile, arguments.path)
    except ValueError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.path}: {arguments.path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
