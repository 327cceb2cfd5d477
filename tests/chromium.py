"""A real browser for the tests, and what it complains of."""

import contextlib
import shutil
from urllib.parse import urlparse

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


@contextlib.contextmanager
def chromium():
    """The machine's own; skips the test where there is none."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


def go_to(page, address):
    """Open a page and wait for its scripts, pictures, formulas and fonts."""
    page.goto(address)  # "networkidle" is now and then never told, and says nothing of formulas
    page.evaluate("() => Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(() => null)")


def watch(page, troubles, kinds=("error",)):
    """Add to a list whatever the page asks of another site, fails to get, or says in its console."""
    page.on("request", lambda r: urlparse(r.url).scheme in ("file", "data", "blob") or troubles.append(r.url))
    page.on("requestfailed", lambda r: troubles.append(f"failed: {r.url}"))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: message.type in kinds and troubles.append(message.text))
