"""The versions that a run names, and the revision of the sources that it ran."""

import functools
import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import NamedTuple


def version_of(package: str) -> str:
    """A package's version, or that it is not installed: a folder of sources on the path is enough."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


class Revision(NamedTuple):
    """Where the sources of this package stand in git.

    Attributes:
        commit: 40 digits; None where nothing says.
        dirty: whether the checkout has changes that no commit holds; None where nothing says.
    """

    commit: str | None
    dirty: bool | None


@functools.cache
def revision() -> Revision:
    """The revision of a checkout, or of a package that pip installed from a repository; as it is at the first call."""
    root = Path(__file__).resolve().parents[2]
    git = lambda *arguments: subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        if Path(git("rev-parse", "--show-toplevel")) == root:  # and not of a checkout that an environment lies in
            return Revision(git("rev-parse", "HEAD"), bool(git("status", "--porcelain")))
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        origin = json.loads(distribution("earlytime").read_text("direct_url.json") or "{}")
        return Revision(origin["vcs_info"]["commit_id"], False)
    except (PackageNotFoundError, KeyError):
        return Revision(None, None)
