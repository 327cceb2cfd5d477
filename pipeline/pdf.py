"""One PDF of a built book: all of it as one page, printed by Chromium."""

import argparse
import shutil
import sys
from pathlib import Path

from build_book import render
from current import remove, why_build
from playwright.sync_api import sync_playwright

# Nobody can click on paper: what is text is unfolded, plumbing stays folded.
UNFOLD = """() => document.querySelectorAll("details.sd-dropdown, table.claims details").forEach((each) => {
    each.open = true;
})"""
# A record of a claim is made when it is opened.
SETTLED = "() => new Promise(requestAnimationFrame).then(() => window.MathJax?.startup.promise).then(() => null)"


def print_page(page_file: Path, path: Path) -> None:
    """Print a page of the finished book to a PDF; **raises** `SystemExit` where there is no Chromium."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("pdf: needs chromium or google-chrome, and finds neither")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(600_000)  # thousands of formulas
        page.goto(page_file.as_uri())  # its scripts and pictures, too
        page.evaluate(UNFOLD)
        page.evaluate(SETTLED)
        page.pdf(path=path, format="A4", print_background=True, margin={"top": "15mm", "bottom": "15mm"})
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile")
    profile = parser.parse_args().profile
    if why_build(profile) is not None:
        raise SystemExit(f"pdf: the book of the profile {profile} is not current: first `make book PROFILE={profile}`")
    place = Path("_build", profile)
    made = render(place, profile, "singlehtml").absolute()
    whole = made / "whole.html"
    shutil.move(made / "book/index.html", whole)  # where what it needs is, as it says itself
    print_page(whole, place / "earlytime.pdf")
    remove(place / "sphinx")
    print(f"{place / 'earlytime.pdf'}: {(place / 'earlytime.pdf').stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
