"""What makes a published notebook, or the book, count no more."""

import itertools
import os
from pathlib import Path

import current
import pytest
from current import Published, notebooks_to_run, publish, published, remove_outdated
from fingerprint import notebook_fingerprint, source_notebooks
from tiny_checkout import say, write

NAMES = ["first", "part/second", "part/third"]


@pytest.fixture
def no_images(monkeypatch, tmp_path):
    monkeypatch.delenv("EARLYTIME_CIFAR10", raising=False)
    monkeypatch.setenv("EARLYTIME_CACHE", str(tmp_path / "cache"))


def append(name):
    def change():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with open(name, "a") as file:
            file.write(" ")

    return change


def set_images(name, content):
    def change():
        Path(name).write_text(content)
        os.environ["EARLYTIME_CIFAR10"] = name

    return change


EVERY_NOTEBOOK = {
    "module": [append("src/earlytime/claims.py"), append("src/earlytime/papers/new.yaml")],
    "program that runs it": [append("pipeline/run_notebook.py")],
    "environment": [append("requirements.txt")],
    "archive of images": [
        append("cache/cifar-10-binary.tar.gz"),
        set_images("a.tar.gz", "1"),
        set_images("b.tar.gz", "1"),
        set_images("b.tar.gz", "12"),
    ],
}


@pytest.mark.parametrize("part", EVERY_NOTEBOOK)
def test_what_every_notebook_depends_on(checkout, no_images, monkeypatch, part):
    monkeypatch.setenv("EARLYTIME_CIFAR10", "")
    for change in EVERY_NOTEBOOK[part]:
        before = notebook_fingerprint("first", "smoke", {})
        change()
        assert current.changed(before, notebook_fingerprint("first", "smoke", {})) == f"the {part}"


def test_what_one_notebook_depends_on(checkout, no_images):
    before = notebook_fingerprint("first", "smoke", {"seed": 1})
    assert current.changed(before, notebook_fingerprint("first", "smoke", {"seed": 2})) == "the parameters"
    assert current.changed(before, notebook_fingerprint("first", "standard", {"seed": 1})) == "the parameters"
    assert current.changed(before, notebook_fingerprint("part/second", "smoke", {"seed": 1})) == "the source"
    append("notebooks/part/second.ipynb")()
    append("requirements-cuda12.txt")()
    append("book/index.md")()
    append("src/earlytime/__pycache__/claims.pyc")()
    append("src/earlytime/.claims.py.swp")()
    assert notebook_fingerprint("first", "smoke", {"seed": 1}) == before
    before = notebook_fingerprint("first", "gpu", {})
    append("requirements-cuda12.txt")()
    assert current.changed(before, notebook_fingerprint("first", "gpu", {})) == "the environment"


@pytest.mark.parametrize(
    "name, part",
    {
        "book/static/earlytime.css": "text",
        "_config.yml": "configuration",
        "_toc.yml": "configuration",
        "pipeline/measured.py": "program that builds it",
        "src/earlytime/claims.py": "module",
        "requirements.txt": "environment",
        "_build/smoke/results/first.json": "results",
        "_build/smoke/results/first.run.json": "results",
        "_build/smoke/stage/notebooks/first.ipynb": "results",
        "results/a-machine/first.run.json": "other results",
    }.items(),
)
def test_what_the_book_depends_on(checkout, name, part):
    before = current.pages_fingerprint("smoke")
    append(name)()
    assert current.changed(before, current.pages_fingerprint("smoke")) == f"the {part}"


def test_a_renamed_file_of_the_module_is_a_change(checkout):
    before = notebook_fingerprint("first", "smoke", {})
    Path("src/earlytime/claims.py").rename("src/earlytime/klaims.py")
    assert current.changed(before, notebook_fingerprint("first", "smoke", {})) == "the module"


def publish_as_of_now(name, profile="smoke"):
    """Publish a notebook without running it."""
    made = Published(*(Path("made", kind) for kind in Published._fields))
    made.record.parent.mkdir(exist_ok=True)
    made.notebook.write_text(f"executed {name}")
    made.results.write_text("{}")
    hashes = {"notebook": current.file_hash(made.notebook), "results": current.file_hash(made.results)}
    fingerprint = notebook_fingerprint(name, profile, current.load_profile(profile)[name])
    current.write_record(made.record, fingerprint, hashes)
    publish(made, name, profile)


def test_other_runs_are_those_with_other_seeds_that_are_whole_and_those_of_machines(checkout):
    for seed in (9, 10, 11):
        for name in NAMES:
            publish_as_of_now(name, f"smoke-seed-{seed}")
    Path("_build/smoke-seed-11/results/first.json").unlink()
    for path in ("results/gpu/part/second.run.json", "results/smoke/first.run.json", "results/empty/bench.json"):
        Path(path).parent.mkdir(parents=True)
        Path(path).touch()
    assert current.other_results("smoke") == {
        "seed 9": Path("_build/smoke-seed-9/results"),
        "seed 10": Path("_build/smoke-seed-10/results"),
        "gpu": Path("results/gpu"),
    }


def test_a_crash_between_two_moves_is_seen(checkout, monkeypatch):
    for name in NAMES:
        publish_as_of_now(name)
    assert notebooks_to_run("smoke") == {}
    real, whole = os.replace, {path: path.read_bytes() for path in published("first", "smoke")}
    for moves in range(3):
        for path, content in whole.items():
            path.write_bytes(content)
        write("notebooks/first.ipynb", say("edited"))

        left = itertools.count(moves, -1)

        def crash(source, place):
            if next(left) == 0:
                raise OSError("on purpose")
            real(source, place)

        monkeypatch.setattr(os, "replace", crash)
        with pytest.raises(OSError, match="on purpose"):
            publish_as_of_now("first")
        monkeypatch.setattr(os, "replace", real)
        assert list(notebooks_to_run("smoke")) == ["first"]
    publish_as_of_now("first")
    assert notebooks_to_run("smoke") == {}


@pytest.mark.parametrize("content", ["", "[]", '{"fingerprint": {}}', '{"fingerprint": 1, "sha256": 2}'])
def test_a_record_that_says_too_little_is_outdated(checkout, content):
    for name in NAMES:
        publish_as_of_now(name)
    record = published("first", "smoke").record
    record.write_text(content)
    assert notebooks_to_run("smoke") == {"first": f"{record} was cut short or altered, or is from an older version"}


def test_strays_go_and_nothing_else(checkout, capsys):
    for name in NAMES:
        publish_as_of_now(name)
    kept = [Path("_build/smoke/work/part/second/second.ipynb"), Path("_build/smoke/lock")]
    kept += [path for name in NAMES for path in published(name, "smoke")]
    strays = ["stage/notebooks/part/old.ipynb", "results/old.json", "results/old.run.json", "results/part/second.txt"]
    strays += ["work/old/old.ipynb", "work/part/part.ipynb", "results/first.json.part"]
    for path in [*kept, *(Path("_build/smoke", stray) for stray in strays)]:
        append(path)()
    Path("_build/smoke/results/empty/folder").mkdir(parents=True)
    remove_outdated("smoke", {})
    assert {path for path in Path("_build").rglob("*") if path.is_file()} == set(kept)
    assert not Path("_build/smoke/results/empty").exists()
    assert "notebooks/part/old.ipynb is no more" in capsys.readouterr().out


def test_a_folder_in_the_place_of_a_file_is_removed(checkout):
    results = published("first", "smoke").results
    results.mkdir(parents=True)
    remove_outdated("smoke", notebooks_to_run("smoke"))
    assert not results.exists()


def test_many_notebooks_that_run_for_one_reason_take_one_line(checkout, capsys):
    write("notebooks/fourth.ipynb")
    for name in source_notebooks():
        publish_as_of_now(name)
    append("requirements.txt")()
    remove_outdated("smoke", notebooks_to_run("smoke"))
    assert capsys.readouterr().out == "the environment changed: running 4 notebooks again\n"
