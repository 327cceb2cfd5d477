"""Every notebook of the book keeps the house rules, and the files that name notebooks name real ones."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from earlytime import claims
from run_notebook import declared_parameters

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.relative_to(ROOT / "notebooks").with_suffix("").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
}
PROFILES = sorted((ROOT / "pipeline/profiles").glob("*.yaml"))
LONGEST_CELL = 12

every_notebook = pytest.mark.parametrize("name", SOURCES)


def cells_of(name, kind):
    return [cell for cell in nbformat.read(SOURCES[name], as_version=4).cells if cell.cell_type == kind]


def bootstrap_of(name):
    return cells_of(name, "code")[0]


@every_notebook
def test_sources_are_stripped(name):
    assert not any(cell.outputs or cell.execution_count for cell in cells_of(name, "code"))


@every_notebook
def test_the_first_cell_is_a_title(name):
    first = nbformat.read(SOURCES[name], as_version=4).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@every_notebook
def test_parameters(name):
    common = {"seed", "results_path", "num_seeds", "precision", "activation"}
    declared = declared_parameters(SOURCES[name])
    assert common <= declared.keys()
    assert declared["results_path"] == ""


@every_notebook
def test_cells_are_short(name):
    reasoning = [c for c in cells_of(name, "code") if "parameters" not in c.metadata.get("tags", [])]
    assert max(len(cell.source.splitlines()) for cell in reasoning) <= LONGEST_CELL


@every_notebook
def test_the_bootstrap_cell_is_the_same_everywhere(name):
    assert "hide-cell" in bootstrap_of(name).metadata.get("tags", [])
    assert bootstrap_of(name).source == bootstrap_of(next(iter(SOURCES))).source
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert re.findall(r"git\+(\S+?)\"", bootstrap_of(name).source) == [repository]


def test_the_table_of_contents_has_every_notebook():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]] + [toc["root"]]
    notebooks = [page.removeprefix("notebooks/") for page in pages if page.startswith("notebooks/")]
    assert sorted(notebooks) == sorted(SOURCES)
    assert all((ROOT / f"{page}.md").exists() for page in pages if page.startswith("book/"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_profiles_name_parameters_of_notebooks(profile):
    for name, parameters in (yaml.safe_load(profile.read_text()) or {}).items():
        assert (parameters or {}).keys() <= declared_parameters(SOURCES[name]).keys()
        assert "results_path" not in (parameters or {})


@pytest.mark.parametrize("claim", claims.load_claims().values(), ids=lambda claim: claim.id)
def test_claims_name_notebooks(claim):
    assert claim.notebook in SOURCES
