"""What the tests share: some results, and a tiny checkout, with notebooks that take no time."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from earlytime import claims
from some_results import CLAIM, OTHER, RUN
from tiny_checkout import make_checkout, output_of, page, ran, shown, snakemake, write

sys.path.insert(0, str(Path(__file__).parents[2] / "pipeline"))


@pytest.fixture
def write_notebook():
    return write


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    make_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "stand_ins")
    return tmp_path


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    make_checkout(folder)
    code, printed = output_of(snakemake(cwd=folder))
    assert code == 0 and ran(printed) == {"first", "part/second", "part/third"}, printed
    return folder


@pytest.fixture
def built(built_once, tmp_path, monkeypatch):
    """A tiny checkout whose book of the profile `smoke` is finished: a copy, so all its files are new."""
    shutil.copytree(built_once, tmp_path, copy_function=shutil.copy, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert shown() == page(first="first 0", second="second 0", third="third 0")
    return tmp_path


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Returns a function that writes one notebook's results and reads them all."""
    from results import load_results

    def write(record, **run):
        (tmp_path / "part").mkdir(exist_ok=True)
        found = {} if record is None else {CLAIM.id: record}
        (tmp_path / "part/first.json").write_text(json.dumps({"claims": found}))
        (tmp_path / "part/first.run.json").write_text(json.dumps(RUN | run))
        return load_results.__wrapped__()

    monkeypatch.setenv("EARLYTIME_RESULTS", str(tmp_path))
    monkeypatch.setattr(claims, "load_claims", lambda: {claim.id: claim for claim in (CLAIM, OTHER)})
    return write
