"""Set the repository's address everywhere: address.py https://github.com/NAME/REPO

It stands in one place, `Repository` under `[project.urls]` in pyproject.toml. Whatever else names it repeats it
letter by letter, so that a new address replaces the old one wherever that stands.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PLACEHOLDER = "OWNER"  # in the place of a name while the repository has no public home
_ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]*[A-Za-z0-9_-])")
_ELSEWHERE = re.compile(
    rb"(?:github(?:usercontent)?\.com[/:]|/github/|(?=\b" + PLACEHOLDER.encode() + rb"/))(?P<owner>[\w-]+)/"
    rb"(?P<name>[\w-]+(?:\.[\w-]+)*)"
    rb"|(?P<site>[\w-]+)\.github\.io/(?P<page>[\w-]+)"
)


def split_address(url: str) -> tuple[str, str]:
    """The owner and the name in https://github.com/owner/name; **raises** `ValueError` for any other form."""
    found = _ADDRESS.fullmatch(url)
    if found is None or url.endswith(".git"):
        raise ValueError(f"URL: expected https://github.com/NAME/REPO without '.git' or '/' at its end, got {url!r}")
    return found[1], found[2]


def read_address(root: Path) -> str:
    """The address in pyproject.toml."""
    url = tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    split_address(url)
    return url


def project_files(root: Path) -> list[Path]:
    """The files that git keeps, or would once they are added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True).stdout
    paths = {root / os.fsdecode(name) for name in listed.split(b"\0") if name}
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def _occurrences(url: str) -> re.Pattern[bytes]:
    # Not as the beginning of a longer name; a link to git may end in .git.
    return re.compile(re.escape(url.encode()) + rb"(?![\w-]|\.(?!git\b)\w)")


def set_address(root: Path, url: str) -> list[Path]:
    """Replace the old address, byte by byte, and return the files that changed.

    **Raises** `ValueError`, before anything is written, for an address that cannot be right.
    """
    split_address(url)
    old = _occurrences(read_address(root))
    before = {path: path.read_bytes() for path in project_files(root)}
    after = {path: old.sub(url.encode(), content) for path, content in before.items()}
    changed = [path for path in before if before[path] != after[path]]
    # pyproject.toml comes last: it says what the old address is, should this be interrupted and done again.
    for path in sorted(changed, key=lambda path: path == root / "pyproject.toml"):
        path.write_bytes(after[path])
    return changed


def stray_addresses(root: Path) -> list[str]:
    """`file:line: what stands there` for every address of this project that is not the one in pyproject.toml."""
    url = read_address(root)
    names = {b"earlytime", split_address(url)[1].lower().encode()}
    strays = []
    for path in project_files(root):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            rest = _occurrences(url).sub(b"", line)
            for found in _ELSEWHERE.finditer(rest):
                owner, name = found["owner"] or found["site"], found["name"] or found["page"]
                if owner == PLACEHOLDER.encode() or name.lower().removesuffix(b".git") in names:
                    strays.append(f"{path.relative_to(root)}:{number}: {found[0].decode(errors='replace')}")
    return strays


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    url = parser.parse_args().url
    try:
        changed = set_address(Path.cwd(), url)
    except (ValueError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{url} stands in {len(changed)} files" if changed else f"{url} stands everywhere already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
