"""Where names are, and that those which moved are still found."""

import importlib
from pathlib import Path

import earlytime as et
import pytest

SOURCES = sorted(Path(et.__file__).parent.glob("*.py"))


def test_the_top_holds_what_most_programs_need():
    assert len(et.__all__) <= 40 and et.__all__ == sorted(set(et.__all__), key=et.__all__.index)
    assert all(hasattr(et, name) for name in et.__all__)


@pytest.mark.parametrize("name", et._MOVED)
def test_a_name_that_moved_is_found_and_says_where(name):
    home = et._MOVED[name]
    with pytest.warns(DeprecationWarning, match=rf"et\.{name} has moved: call et\.{home}\.{name}"):
        found = getattr(et, name)
    assert found is getattr(importlib.import_module(f"earlytime.{home}"), name)


def test_a_name_that_never_was_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        et.no_such_name  # noqa: B018


def test_every_public_module_can_be_reached_from_the_top():
    names = [path.stem for path in SOURCES if not path.stem.startswith("_")]
    assert all(hasattr(et, name) for name in names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_modules_are_of_one_concept_and_short(path):
    assert len(path.read_text().splitlines()) <= 300
