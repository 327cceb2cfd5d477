"""Every notebook of the book keeps the house rules, and the files that name notebooks name real ones."""

import ast
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from earlytime import claims
from fingerprint import load_profile
from run_notebook import declared_parameters

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.relative_to(ROOT / "notebooks").with_suffix("").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
}
PROFILES = sorted((ROOT / "pipeline/profiles").glob("*.yaml"))
LONGEST_CELL = 12
WIDEST_LINE = 80  # what the page shows without cutting it off, `book/static/earlytime.css`
MOST_CELLS = 40

every_notebook = pytest.mark.parametrize("name", SOURCES)


def cells_of(name, kind):
    return [cell for cell in nbformat.read(SOURCES[name], as_version=4).cells if cell.cell_type == kind]


def bootstrap_of(name):
    return cells_of(name, "code")[0]


def code_of(name):
    """All code but that of the first cell, which is IPython's."""
    return "\n".join(cell.source for cell in cells_of(name, "code")[1:])


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
def test_notebooks_are_short(name):
    assert len(cells_of(name, "code")) <= MOST_CELLS


@every_notebook
def test_lines_of_code_are_not_cut_off_by_the_page(name):
    lines = [line for cell in cells_of(name, "code") for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > WIDEST_LINE] == []


def test_code_on_pages_of_text_is_not_cut_off_either():
    fence = re.compile(r"^(`{3,})\w+\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
    found = {path: [block[2] for block in fence.finditer(path.read_text())] for path in (ROOT / "book").rglob("*.md")}
    assert any(found.values())
    lines = [(path, line) for path, blocks in found.items() for block in blocks for line in block.splitlines()]
    assert [each for each in lines if len(each[1]) > WIDEST_LINE] == []


def test_no_formula_lost_a_backslash():
    r"""In a string that is not raw, "\top" is a tab and "op", and the page shows that."""
    texts = {name: [cell.source for kind in ("markdown", "code") for cell in cells_of(name, kind)] for name in SOURCES}
    texts |= {path: [path.read_text()] for path in (ROOT / "book").rglob("*.md")}
    for path in (ROOT / "src").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        texts[path] = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    control = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
    assert {place for place, parts in texts.items() if any(control.search(part) for part in parts)} == set()


@every_notebook
def test_text_in_figures_can_be_read(name):
    """At most 11 inches wide, and no text below 11 points, is 9 pixels or more where the page shows it."""
    code = code_of(name)
    widths = [float(width) for width in re.findall(r"figsize=\((\d+\.?\d*),", code)]
    assert max(widths, default=0) <= 11
    assert not re.search(r"fontsize=[\"']?(?:xx?-)?small|fontsize=(?:[0-9]|10)\b", code)


@every_notebook
def test_no_function_takes_the_name_of_another(name):
    """In a notebook where one did, a cell that is run again would find the wrong one."""
    trees = [ast.parse(cell.source) for cell in cells_of(name, "code") if "%pip" not in cell.source]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))


@every_notebook
def test_the_bootstrap_cell_is_the_same_everywhere(name):
    """But for the notebook's name, one line that is there where neural-tangents is used, and what some need besides."""
    assert "hide-cell" in bootstrap_of(name).metadata.get("tags", [])
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    pins = [
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("neural-tangents==")
    ]
    extras = [
        extra for extra, used in {"flow": "loss_flow", "networks": "import optax"}.items() if used in code_of(name)
    ]
    module = f"earlytime[{extras[0]}]" if extras else "earlytime"
    lines = [
        "try:",
        "    import earlytime as et",
        "except ImportError:  # on Colab: install it, and change nothing else",
        f'    _source = "git+{repository}@v{version}"',
        "    %pip list --format=freeze > installed.txt",
        f'    %pip install --quiet -c installed.txt "{module} @ {{_source}}"',
        f"    %pip install --quiet --no-deps {pins[0]} frozendict",
        "    import earlytime as et",
        f'et.announce("{name}")',
    ]
    if "infinite_width" not in code_of(name):
        del lines[6]
    assert bootstrap_of(name).source.splitlines() == lines


@every_notebook
def test_no_run_that_diverged_is_recorded_unnoticed(name):
    """What trains is put to `require_finite`, and nobody looks for himself but to draw it."""
    code = code_of(name)
    if re.search(r"\bet\.(train|compare)[(,]", code):
        assert "et.require_finite(" in code
    drawn = "\n".join(c.source for c in cells_of(name, "code") if "hide-input" in c.metadata.get("tags", []))
    assert code.count(".diverged_at") == drawn.count(".diverged_at")
    assert not [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]


@every_notebook
def test_every_claim_is_recorded_with_what_it_was_run_with(name):
    """`sizes` is what `check_parameters` returned, or is made from it."""
    tree = ast.parse(code_of(name))
    ours = {"run_with"}
    for _ in range(3):  # names made from it, and from those: variables, and what a function or a class gives
        ours |= set().union(*(_given_by(node) for node in ast.walk(tree) if _names(node) & ours))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    recorded = [call for call in calls if getattr(call.func, "attr", "") == "record_claim"]
    assert recorded or "et.record_measured(" in code_of(name)
    for call in recorded:
        sizes = {keyword.arg: keyword.value for keyword in call.keywords}.get("sizes")
        assert sizes is not None and _names(sizes) & ours, ast.unparse(call)


def _names(node):
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _given_by(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    return set().union(*map(_names, node.targets)) if isinstance(node, ast.Assign) else set()


def test_the_table_of_contents_has_every_notebook():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]] + [toc["root"]]
    notebooks = [page.removeprefix("notebooks/") for page in pages if page.startswith("notebooks/")]
    assert sorted(notebooks) == sorted(SOURCES)
    assert all((ROOT / f"{page}.md").exists() for page in pages if page.startswith("book/"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_profiles_name_parameters_of_notebooks(profile):
    for name, parameters in load_profile(profile.stem).items():
        assert (parameters or {}).keys() <= declared_parameters(SOURCES[name]).keys()
        assert "results_path" not in (parameters or {})


@pytest.mark.parametrize("claim", claims.load_claims().values(), ids=lambda claim: claim.id)
def test_claims_name_notebooks(claim):
    assert claim.notebook in SOURCES
