"""Where the finished book is, and its pages."""

import os
from pathlib import Path


def built_book() -> Path | None:
    """The folder of its pages, from the environment variable EARLYTIME_BOOK."""
    place = os.environ.get("EARLYTIME_BOOK")
    return Path(place).absolute() if place else None


def pages() -> list[str]:
    """Every page of the book, without the index and the search."""
    if (html := built_book()) is None:
        return []
    found = [path for part in ("book", "notebooks") for path in sorted((html / part).rglob("*.html"))]
    return [path.relative_to(html).as_posix() for path in found]
