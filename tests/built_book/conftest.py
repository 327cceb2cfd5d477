"""The finished book, as `make book` leaves it, in a real browser: `make test-book PROFILE=smoke`."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture(scope="session")
def html():
    if (place := built_book()) is None:
        pytest.skip("no built book: `make test-book` names one in EARLYTIME_BOOK")
    return place


@pytest.fixture(scope="session")
def browser(html):
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()
