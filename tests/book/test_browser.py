"""A small book, built as the real one is and opened in a real browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import pytest
import yaml
from chromium import chromium, go_to, watch
from earlytime import claims
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
NOTEBOOK = "hu2020/concentration"
CLAIMS = [claim for claim in claims.load_claims().values() if claim.notebook == NOTEBOOK]
PAPER = [claim for claim in claims.load_claims().values() if claim.paper == CLAIMS[0].paper]
TOC = """
format: jb-book
root: book/index
chapters:
  - file: notebooks/hu2020/concentration
  - file: book/claims
  - file: book/status
  - file: book/api/some
"""
INDEX = r"""
# A small book

Inline $x^2$, after {cite:t}`someone`, and measured {measured}`CLAIM:erf`.

$$
\int_0^1 x \, dx = \tfrac12
$$

```{prf:theorem} A theorem
:label: a-theorem

It holds, {prf:ref}`a-theorem`.
```

```{notebook-figure} NOTEBOOK a-figure
:alt: A dot.

A caption.
```

```{bibliography}
```
"""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
ALT = "A dot, in a notebook: 'quoted' and \"quoted\"."
API = """
# Some functions

```{api}
kernel_dynamics
function_space.KernelDynamics
kernels.kernel_change_bound
kernels.stable_learning_rate
tangent_kernel
operators.Operator
rules.seed
```
"""
BIBLIOGRAPHY = "@article{someone, title={A paper}, author={Some, One}, year={2020}, journal={A journal}}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The folders that a finished run of the notebooks would leave."""
    folder = tmp_path_factory.mktemp("small")
    book, notebook = folder / "stage/book", folder / f"stage/notebooks/{NOTEBOOK}.ipynb"
    shutil.copytree(ROOT / "book/static", book / "static")
    for page in ("claims.md", "status.md"):
        shutil.copy(ROOT / "book" / page, book)
    (book / "index.md").write_text(INDEX.replace("CLAIM", CLAIMS[0].id).replace("NOTEBOOK", NOTEBOOK))
    (book / "api").mkdir()
    (book / "api/some.md").write_text(API)
    (book / "references.bib").write_text(BIBLIOGRAPHY)
    (folder / "_toc.yml").write_text(TOC)

    shown = new_output("display_data", {"text/markdown": "Shown $y^3$.\n\n| a |\n|---|\n| b |\n"})
    dot = new_output("display_data", {"image/png": DOT})
    cells = [
        new_markdown_cell("# Concentration"),
        new_code_cell("hidden = 1", metadata={"tags": ["hide-cell"]}),
        new_code_cell("seed = 0\nnum_seeds = 5", metadata={"tags": ["parameters"]}),
        new_code_cell("import earlytime as et\net.kernels.kernel_change_bound", outputs=[shown]),
        new_code_cell(f"widest = 1  # {'w' * 66}"),
        new_code_cell(
            "dot", metadata={"tags": ["a-figure", "headline"], "mystnb": {"image": {"alt": ALT}}}, outputs=[dot]
        ),
    ]
    notebook.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), notebook)

    few = {"cases": {"erf": [-0.5, -0.51, -0.52]}, "sizes": {"dims": [8, 512], "seed": 0}, "reason": ""}
    enough = few | {"cases": {"erf": 8 * [-0.5, -0.51, -0.52]}}
    run = {"profile": "standard", "parameters": {}, "seconds": 1.0, "finished": "2026-01-02T03:04:05+00:00"}
    results = folder / f"results/{NOTEBOOK}.json"
    results.parent.mkdir(parents=True)
    records = {claim.id: few if claim is CLAIMS[0] else enough for claim in CLAIMS}
    results.write_text(json.dumps({"claims": records}))
    run |= {"seconds_compiling": 0.5, "programs": 3, "from_cache": 1, "peak_memory": {"host": 10**9, "device": None}}
    results.with_suffix(".run.json").write_text(json.dumps(run | {"device": "cpu", "versions": {}}))
    return folder


def build(folder, config=ROOT / "_config.yml"):
    """As the Snakefile does it."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder / "stage"]
    files = ["--config", config, "--toc", folder / "_toc.yml", "--path-output", folder / "out"]
    options = ["--all", "-W", "--keep-going"]  # not -n: the functions here name others, which a whole book has
    environment = os.environ | {"EARLYTIME_RESULTS": str(folder / "results")}
    result = subprocess.run([*command, *files, *options], capture_output=True, text=True, env=environment, cwd=ROOT)
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(scope="module")
def html(stage):
    code, printed = build(stage)
    assert code == 0, printed
    return stage / "out/_build/html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


# In the dark the pages of the real book are seen, by `make test-book`.
@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def visit(browser, html, request):
    """Opens a page, and afterwards checks that it asked no other site and reported no error."""
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    page.set_default_timeout(60_000)  # a busy machine
    troubles = []
    watch(page, troubles)

    def open_page(name):
        go_to(page, (html / f"{name}.html").as_uri())
        return page

    yield open_page
    context.close()
    assert troubles == []


def test_math_theorem_citation_figure_and_measured_number(visit):
    page = visit("book/index")
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-container svg").count() == 2
    assert "Theorem 1 (A theorem)" in page.inner_text("div.proof")
    assert "Some [2020]" in page.inner_text("article")
    assert page.get_by_alt_text("A dot.").evaluate("image => image.complete && image.naturalWidth") == 1
    page.get_by_role("link", name="−0.510 [−0.535, −0.485]").click()
    page.wait_for_url(f"**/book/claims.html#claim-{CLAIMS[0].id}")


def test_notebook_page(visit):
    page = visit(f"notebooks/{NOTEBOOK}")
    assert not page.get_by_text("hidden = 1").is_visible()
    cell = page.locator("div.cell_input pre", has_text="widest")
    assert len(cell.inner_text().rstrip()) == 80
    for width in (1280, 1440):  # the widest line that a notebook may have is not cut off
        page.set_viewport_size({"width": width, "height": 900})
        assert cell.evaluate("element => element.scrollWidth - element.clientWidth") == 0
    page.wait_for_selector("div.cell_output mjx-container svg")
    assert page.locator("div.cell_output table").count() == 1
    assert page.locator("div.cell_output img").get_attribute("alt") == ALT


def test_a_notebook_opens_with_what_came_out(visit):
    page = visit(f"notebooks/{NOTEBOOK}")
    box = page.locator(".opening")
    assert box.locator("img").get_attribute("alt") == ALT
    assert "Run with 5 seeds from 0 on, the profile standard" in box.inner_text()
    box.get_by_role("link", name=f"✓ {CLAIMS[1].number}").click()
    page.wait_for_url(f"**/book/claims.html#claim-{CLAIMS[1].id}")


def test_claims_page(visit):
    page = visit("book/claims")
    page.wait_for_selector("mjx-container svg")
    claim = page.locator(f"[id='claim-{CLAIMS[0].id}']")
    run_with = claim.locator(".run-with")
    assert not run_with.is_visible()
    claim.locator("summary").click()
    assert run_with.is_visible() and run_with.inner_text() == "Run with: seed = 0, dims = [8, 512]"
    assert "num_seeds is 3, and a verdict needs" in claim.inner_text()
    assert "erf: −0.500, −0.510, −0.520" in claim.inner_text()
    assert "erf: −0.510 [−0.535, −0.485]" in claim.locator(".forest").get_attribute("aria-label")
    badges = page.locator("article table").first.locator(".verdict")
    assert badges.all_inner_texts() == ["✓ reproduced", "✗ not reproduced", "≈ inconclusive", "○ not run"]
    boxes = [badge.bounding_box()["height"] for badge in badges.all()]
    assert max(boxes) == min(boxes)
    row = page.locator("article table").first.locator("tbody tr").first.locator("td").all_inner_texts()
    assert row == [CLAIMS[0].paper, "1", "0", "0", str(len(PAPER) - 1)]
    page.get_by_label("Filter by verdict").select_option("✓ reproduced")
    rows = page.locator("table.claims > tbody > tr")
    assert rows.count() == 1 and CLAIMS[1].number in rows.inner_text()


def test_reference_of_the_module(visit):
    page = visit("book/api/some")
    page.wait_for_selector("mjx-container svg")
    described = page.locator("dl.py", has=page.locator("dt[id='earlytime.kernels.kernel_change_bound']"))
    assert "et.kernels.kernel_change_bound(" in described.locator("dt.sig").inner_text()
    assert "hessian_norms: Float[AnyArray, 'n']" in described.locator("dt.sig").inner_text()
    assert "[[0.41]]" in described.locator("div.highlight").inner_text()
    assert page.locator("[data-mml-node=merror]").count() == 0
    page.get_by_role("link", name="KernelDynamics", exact=True).first.click()
    page.wait_for_url("**#earlytime.function_space.KernelDynamics")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    described.locator(".used-in").get_by_role("link", name="Concentration").click()
    page.wait_for_url(f"**/notebooks/{NOTEBOOK}.html")


def test_status_page(visit):
    assert "Concentration" in visit("book/status").inner_text("table")


def test_pages_have_the_buttons_that_lead_somewhere(stage, html, tmp_path):
    config = (ROOT / "_config.yml").read_text()
    here = yaml.safe_load(config)["repository"]["url"]
    nowhere, somewhere = (f"https://github.com/{owner}/earlytime" for owner in ("OWNER", "some-one"))
    other = somewhere if here == nowhere else nowhere
    (tmp_path / "_config.yml").write_text(config.replace(here, other))
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    folder = tmp_path / "other"
    shutil.copytree(stage, folder, ignore=shutil.ignore_patterns("out"))
    code, printed = build(folder, tmp_path / "_config.yml")
    assert code == 0, printed
    address = here if here != nowhere else somewhere
    colab = address.replace("https://github.com", "https://colab.research.google.com/github")
    for page, suffix in {f"notebooks/{NOTEBOOK}": "ipynb", "book/index": "md", "book/claims": "md"}.items():
        links = {}
        for url, book in {here: html, other: folder / "out/_build/html"}.items():
            found = re.findall(r'href="(https://[^"?]+)', (book / f"{page}.html").read_text())
            links[url] = {link for link in found if urlparse(url).path in link}
        assert links.pop(nowhere) == set()
        expected = {address, f"{address}/issues/new", f"{address}/edit/main/{page}.{suffix}"}
        assert links[address] == expected | ({f"{colab}/blob/main/{page}.ipynb"} if suffix == "ipynb" else set())


def test_missing_numbers_and_alternative_texts_fail_the_build(stage, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(stage, folder, ignore=shutil.ignore_patterns("out"))
    with open(folder / "stage/book/index.md", "a") as page:
        page.write("\n{measured}`no-such-claim` {measured}`CLAIM:no-such-case`\n".replace("CLAIM", CLAIMS[0].id))
        page.write("\n```{api}\nkernels.no_such_name\n```\n")
    (folder / f"results/{NOTEBOOK}.json").write_text(
        json.dumps({"claims": {CLAIMS[0].id: {"cases": {"erf": [1.0, 2.0]}, "sizes": {"dims": 8}, "reason": ""}}})
    )
    notebook = folder / f"stage/notebooks/{NOTEBOOK}.ipynb"
    notebook.write_text(notebook.read_text().replace('"alt"', '"class"'))
    code, printed = build(folder)
    assert code != 0
    assert f"{notebook}: WARNING: the figure of the cell 'dot' has no alternative text" in printed
    assert "no claim 'no-such-claim'" in printed
    assert "no public name 'kernels.no_such_name'" in printed
    assert "got 'no-such-case'" in printed
    assert f"the notebook of the claim '{CLAIMS[1].id}' ran and recorded nothing for it" in printed
