"""What a notebook says before it starts."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import earlytime as et
import jax
import pytest
from earlytime.announcement import _minutes_of_notebooks

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def test_versions_device_and_minutes_in_one_line(capsys):
    et.announce("quickstart")
    printed = capsys.readouterr().out
    assert printed.startswith(f"earlytime {version('earlytime')}, jax {jax.__version__}, ") and printed.count("\n") == 1
    assert f"about {_minutes_of_notebooks()['quickstart']} minute" in printed


def test_a_folder_of_sources_on_the_path_is_enough(capsys, monkeypatch):
    def not_there(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("earlytime._versions.version", not_there)
    et.announce("quickstart")
    assert capsys.readouterr().out.startswith("earlytime not installed, jax ")


def test_every_notebook_has_its_minutes():
    names = {path.relative_to(NOTEBOOKS).with_suffix("").as_posix() for path in NOTEBOOKS.rglob("*.ipynb")}
    names = {name for name in names if ".ipynb_checkpoints" not in name}
    assert _minutes_of_notebooks().keys() == names
    assert all(isinstance(minutes, int) and minutes >= 1 for minutes in _minutes_of_notebooks().values())


def test_an_unknown_notebook_is_refused():
    with pytest.raises(ValueError, match="notebook: expected one of"):
        et.announce("hu2020/figure_2")
