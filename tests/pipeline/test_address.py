"""The repository's address: one place that decides, and every other that follows it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import address
import buttons
import pytest

ROOT = Path(__file__).parents[2]
HERE = address.read_address(ROOT)
# Addresses are put together here: this file is one of those that are searched and rewritten.
ANYONE = "some-one"
NEW = f"https://github.com/{ANYONE}/early.time"
PLACEHOLDER = f"https://github.com/{address.PLACEHOLDER}/earlytime"
BAD = [
    "",
    "github.com/{}/earlytime",
    "http://github.com/{}/earlytime",
    "https://github.com/{}/earlytime/",
    "https://github.com/{}/earlytime.git",
    "https://github.com/{}/earlytime ",
    "https://github.com/some one/earlytime",
    "https://github.com/{}/earlytime\n",
    "https://github.com/some-one",
    "https://github.com/{}/earlytime/tree/main",
    "https://gitlab.example/some-one/earlytime",
    "https://github.com/{}/$(touch owned)",
    'https://github.com/{}/"; touch owned; "',
]


@pytest.fixture
def copy(tmp_path):
    """A new repository with the files of this one."""
    root = tmp_path / "copy"
    for path in address.project_files(ROOT):
        place = root / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in address.project_files(root)}


def make_address(root, url):
    """As it is typed, without an environment of its own."""
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    url = url.replace("$", "$$")  # for make
    command = ["make", "address", f"URL={url}", f"VENV_PYTHON={sys.executable}", "--assume-old=setup"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_every_address_here_is_the_one():
    assert address.stray_addresses(ROOT) == []


def test_make_address_sets_it_everywhere_and_changes_nothing_else(copy):
    before = contents(copy)
    result = make_address(copy, NEW)
    assert result.returncode == 0, result.stderr
    after = contents(copy)
    assert after == {name: content.replace(HERE.encode(), NEW.encode()) for name, content in before.items()}
    changed = {name for name in before if before[name] != after[name]}
    notebooks = {name for name in before if name.startswith("notebooks/")}
    pages = {"README.md", "CITATION.cff", "book/how_to_run.md", "book/index.md"}
    assert changed >= notebooks | pages | {"pyproject.toml", "_config.yml"}
    assert result.stdout == f"{NEW} stands in {len(changed)} files\n"
    assert address.read_address(copy) == NEW
    assert address.stray_addresses(copy) == []

    result = make_address(copy, NEW)
    assert result.returncode == 0 and result.stdout == f"{NEW} stands everywhere already\n"
    assert contents(copy) == after
    assert make_address(copy, HERE).returncode == 0
    assert contents(copy) == before


@pytest.mark.parametrize("url", BAD)
def test_a_bad_address_is_refused_before_anything_is_written(copy, url):
    before, url = contents(copy), url.replace("{}", ANYONE)
    result = make_address(copy, url)
    assert result.returncode != 0 and not result.stdout
    assert result.stderr.startswith("URL: expected https://github.com/NAME/REPO") and f"got {url!r}" in result.stderr
    assert contents(copy) == before and not (copy / "owned").exists()


def test_only_whole_addresses_are_replaced(copy):
    page = copy / "book/links.md"
    tails = ["", "/issues", ".git", ".", ")", "-fork", "2", ".js", "_old"]
    page.write_text("\n".join(HERE + tail for tail in tails))
    address.set_address(copy, NEW)
    assert page.read_text() == "\n".join((HERE if i > 4 else NEW) + tail for i, tail in enumerate(tails))


def test_what_was_interrupted_is_completed_by_the_next_run(copy, monkeypatch):
    written, write = [], Path.write_bytes

    def interrupted(path, content):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        address.set_address(copy, NEW)
    monkeypatch.undo()
    assert len(written) == 5 and all(NEW in path.read_text() for path in written)
    assert address.read_address(copy) == HERE
    address.set_address(copy, NEW)
    assert address.stray_addresses(copy) == [] and address.read_address(copy) == NEW


@pytest.mark.parametrize("owner", [ANYONE, address.PLACEHOLDER])
@pytest.mark.parametrize(
    "template",
    [
        "https://github.com/{}/earlytime",
        "http://www.github.com/{}/EarlyTime/issues",
        "git@github.com:{}/earlytime.git",
        "https://colab.research.google.com/github/{}/earlytime/blob/main/x.ipynb",
        "https://raw.githubusercontent.com/{}/earlytime/main/README.md",
        "https://{}.github.io/earlytime",
    ],
)
def test_a_stray_address_is_found(copy, owner, template):
    address.set_address(copy, NEW)
    stray = template.format(owner)
    (copy / "book/stray.md").write_text(f"{NEW}\n{NEW}, {stray}\n")
    found = address.stray_addresses(copy)
    assert len(found) == 1 and found[0].startswith("book/stray.md:2: ") and owner in found[0]


def test_a_stray_placeholder_is_found_and_other_projects_are_none(copy):
    address.set_address(copy, NEW)
    page = copy / "book/stray.md"
    page.write_text("https://github.com/jax-ml/jax src/earlytime https://github.com/some-one/other\n")
    assert address.stray_addresses(copy) == []
    page.write_text(f"gh repo clone {address.PLACEHOLDER}/any-name\n")
    assert address.stray_addresses(copy) == [f"book/stray.md:1: {address.PLACEHOLDER}/any-name"]


@pytest.mark.parametrize("url, kept", [(PLACEHOLDER, False), (NEW, True)])
def test_buttons_lead_somewhere_or_are_not_there(url, kept):
    names = ["use_repository_button", "use_edit_page_button", "use_issues_button"]
    colab = {"colab_url": "https://colab.research.google.com"}
    options = {"repository_url": url, "launch_buttons": colab, **dict.fromkeys(names, True)}
    buttons._drop_buttons(None, SimpleNamespace(html_theme_options=options))
    assert [options[name] for name in names] == [kept] * 3
    assert bool(options["launch_buttons"]) == kept
