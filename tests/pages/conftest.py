"""The finished book, as `make book` leaves it, in a real browser: `make test-book PROFILE=smoke`."""

import shutil

import pytest
from finished import built_book
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
