"""A second run finds what the first one compiled, in the folder that the user chose, or nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import jax, jax.monitoring
import earlytime as et
from earlytime import rules
counts = []
jax.monitoring.register_event_listener(lambda event, **_: counts.append(event.rsplit("/", 1)[-1]))
{before}
et.check_parameters({{"seed": 0}}, seed=rules.seed)
et.over_seeds(lambda key: jax.random.normal(key, (3,)), {seed}, 2)
print(counts.count("cache_hits"), counts.count("cache_misses"), jax.config.jax_compilation_cache_dir)
"""


def run(seed=0, before="", **environment):
    variables = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    program = PROGRAM.format(seed=seed, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables | environment, capture_output=True, text=True, check=True
    )
    hits, misses, folder = done.stdout.split()
    return int(hits), int(misses), folder


def test_a_second_run_with_another_seed_compiles_nothing(tmp_path):
    hits, misses, folder = run(EARLYTIME_CACHE=str(tmp_path))
    assert hits == 0 and misses > 0 and folder.startswith(str(tmp_path / "compiled"))
    assert run(seed=7, EARLYTIME_CACHE=str(tmp_path)) == (misses, 0, folder)


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {"EARLYTIME_COMPILE_CACHE": "off"}),
        ("", {"EARLYTIME_COMPILE_CACHE": "/dev/null/no/folder"}),
    ],
)
def test_it_is_off_where_it_should_be_or_must_be(before, environment):
    assert run(before=before, **environment)[2] == "None"


def test_a_folder_that_is_chosen_counts(tmp_path):
    assert run(EARLYTIME_COMPILE_CACHE=str(tmp_path / "mine"))[2].startswith(str(tmp_path / "mine"))
    chosen = f"jax.config.update('jax_compilation_cache_dir', {str(tmp_path / 'jax')!r})"
    assert run(before=chosen, EARLYTIME_COMPILE_CACHE=str(tmp_path / "mine"))[2] == str(tmp_path / "jax")
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "its"), EARLYTIME_CACHE=str(tmp_path))[2] == str(
        tmp_path / "its"
    )


def entries(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*-cache")}


@pytest.mark.parametrize(
    ("name", "keep"),
    [("JAX_COMPILATION_CACHE_DIR", 0), pytest.param("EARLYTIME_COMPILE_CACHE", -1, marks=pytest.mark.slow)],
)
def test_an_entry_that_was_cut_short_is_written_again_and_nobody_hears_of_it(tmp_path, name, keep):
    set_up = {name: str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    hits, misses, folder = run(**set_up)
    whole = entries(folder)
    assert hits == 0 and len(whole) == misses > 1
    for entry, content in whole.items():
        Path(folder, entry).write_bytes(content[:keep])
    before = "import warnings; warnings.simplefilter('error')"  # a warning would end the run
    assert run(before=before, **set_up)[:2] == (0, misses)
    assert entries(folder).keys() == whole.keys() and run(before=before, **set_up)[:2] == (misses, 0)


def test_only_what_cannot_be_read_is_written_again(tmp_path):
    hits, misses, folder = run(EARLYTIME_COMPILE_CACHE=str(tmp_path))
    cut, *others = sorted(Path(folder).glob("*-cache"))
    program = cut.name.rsplit("-", 2)[0]
    cut.write_bytes(cut.read_bytes()[:-1])
    same = sum(other.name.rsplit("-", 2)[0] == program for other in others)
    assert run(EARLYTIME_COMPILE_CACHE=str(tmp_path))[0] >= misses - 1 - same > 0


def test_other_warnings_are_shown_as_ever():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(seed=0, before="") + "\nimport warnings; warnings.warn('of mine')"],
        env=os.environ | {"EARLYTIME_COMPILE_CACHE": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "UserWarning: of mine" in done.stderr
