"""The explorer in a real browser: its controls, what it says, and the moments of formulas that a reader types."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import earlytime as et
import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from chromium import chromium, watch
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
STEPS, EARLY = [0, 1, 10, 50, 200], 10
PAGE = """
# A small explorer

```{explorer} runs
```

```{explorer} formula
```
"""
# Formulas and what they are in JAX, with their kinks.
FORMULAS = {
    "tanh(z)": (jnp.tanh, ()),
    "max(z, 0)": (jax.nn.relu, (0,)),
    "erf(z) + 0.1*z^2": (lambda z: jax.scipy.special.erf(z) + 0.1 * z**2, ()),
    "abs(z)": (jnp.abs, (0,)),
    "max(z, 0.3)": (lambda z: jnp.maximum(z, 0.3), (0.3,)),
    "clip(z, -1, 0.5)": (lambda z: jnp.clip(z, -1, 0.5), (-1, 0.5)),
    "sign(z - 1/3)": (lambda z: jnp.sign(z - 1 / 3), (1 / 3,)),
    "softplus(2*z)": (lambda z: jax.nn.softplus(2 * z), ()),
    "-z^2 + exp(z)/2^-1": (lambda z: -(z**2) + 2 * jnp.exp(z), ()),
    "sin(3*z) * sigmoid(z) − pi": (lambda z: jnp.sin(3 * z) * jax.nn.sigmoid(z) - jnp.pi, ()),
}
NONSENSE = {
    "": "There is no formula yet",
    "tanh(": "At character 6: expected a number, z, a function or “(”, but the formula ends.",
    "foo(z)": "At character 1: “foo” is not known here.",
    "constructor(z)": "At character 1: “constructor” is not known here.",
    "2z": "At character 2: expected an operator such as * or the end, but there is “z”.",
    "max(z)": "At character 1: max takes 2 or more, not 1 arguments.",
    "z; alert(1)": "At character 2: “;” has no meaning in a formula.",
    "log(z)": "The formula has no finite value at z = −13.0",
    "1/z": "The formula has no finite value at z = 0.00",
    "1/(z - 0.3)": "Near z = 0.300 the formula grows without bound",
    "exp(z^2)": "The formula grows so fast that its mean over a Gaussian z does not exist.",
}


def run(activation, dim, width, trained):
    number = 0.1 * dim + 0.01 * len(activation) + 0.001 * len(trained)
    falling = [round(number + 1 / (1 + step), 4) for step in STEPS]
    curves = {name: falling for name in ("train", "test", "inside", "outside")} | {"points": [falling] * 4}
    both = {"apart": falling, "spectra": {"network": [1.0, 0.5, 0.1], "linear": [1.0, 0.5]}}
    return both | {"steps": STEPS, "early": EARLY, "rate": 1.0, "network": curves, "linear": curves}


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    values = {"activations": ["erf", "abs"], "dims": [4, 8], "widths": [16, 32], "trained": ["both", "first", "second"]}
    data = values | {"runs": {"/".join(map(str, case)): run(*case) for case in itertools.product(*values.values())}}
    shutil.copytree(ROOT / "book/static", folder / "stage/book/static")
    (folder / "stage/book/index.md").write_text(PAGE)
    (folder / "stage/book/references.bib").write_text("")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    shown = [new_output("display_data", {"application/json": data, "text/plain": "runs"})]
    cell = new_code_cell("1", metadata={"tags": ["explorer-data"]}, outputs=shown)
    (folder / "stage/notebooks").mkdir()
    nbformat.write(new_notebook(cells=[cell]), folder / "stage/notebooks/explorer.ipynb")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder / "stage"]
    files = ["--config", ROOT / "_config.yml", "--toc", folder / "_toc.yml", "--path-output", folder / "out"]
    environment = os.environ | {"EARLYTIME_RESULTS": str(folder)}
    options = ["--all", "-W", "--keep-going", "-n"]
    made = subprocess.run([*command, *files, *options], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "out/_build/html/book/index.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, html):
    """Opens the page, and afterwards checks that it asked no other site and reported nothing."""
    contexts, troubles = [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)  # a busy machine
        watch(page, troubles, ("error", "warning"))
        page.goto(html.as_uri())
        page.wait_for_function("document.querySelectorAll('[data-plot] svg').length === 5")
        assert page.locator(".explorer-without").count() == 0
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_controls_choose_a_run_and_a_step(visit, scheme):
    page = visit(color_scheme=scheme)
    says = page.locator("#explorer > .explorer-says")
    assert says.get_attribute("aria-live") == "polite"
    assert says.inner_text().startswith(
        "Step 10, end of the early phase: training loss of the network 0.925, of the linear model 0.925; test loss"
    )
    page.get_by_text("abs", exact=True).first.click()
    assert page.get_by_label("abs", exact=True).is_checked()
    page.get_by_label("8", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_label("4", exact=True).is_checked() and "network 0.525" in says.inner_text()
    page.get_by_label("both layers").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("the first").first.is_checked() and "network 0.526" in says.inner_text()
    slider = page.get_by_label("Time:")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert says.inner_text().startswith("Step 50, 5 times the early phase: training loss of the network 0.455")
    assert slider.get_attribute("aria-valuetext") == "step 50, 5 times the early phase"
    page.keyboard.press("Home")
    assert says.inner_text().startswith("Step 0, 0 % of the early phase")
    assert "Plot over steps. Step 0" in page.locator("[data-plot=losses]").get_attribute("aria-label")


def test_the_plots_are_drawn_in_the_colours_of_the_house(visit):
    page = visit()
    for name in ("losses", "outputs", "residual", "spectra"):
        drawn = page.locator(f"[data-plot={name}] svg").inner_html()
        assert "#0072B2" in drawn and "#D55E00" in drawn
    before = page.locator("[data-plot=losses] svg").inner_html()
    page.get_by_text("4", exact=True).first.click()
    page.wait_for_function("text => document.querySelector('[data-plot=losses] svg').innerHTML !== text", arg=before)


def test_a_phone_has_no_sideways_scroll(visit):
    page = visit(viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    right = "place => place.getBoundingClientRect().right"
    for place in page.locator("[data-plot]").all():
        assert place.locator("svg").evaluate(right) <= place.evaluate(right) + 1


def test_without_scripts_a_sentence_says_what_would_be_here(browser, html):
    page = browser.new_page(java_script_enabled=False)
    page.goto(html.as_uri())
    assert page.get_by_text("With JavaScript, here would be controls").is_visible()
    assert not page.locator("#explorer").is_visible()
    page.close()


def test_formulas_have_the_moments_of_the_module(visit):
    page = visit()
    for text, (phi, kinks) in FORMULAS.items():
        found = page.evaluate("text => Object.values(Formula.moments(Formula.parse(text)))", text)
        np.testing.assert_allclose(found, et.gaussian_moments(phi, kinks=kinks or (0.0,)), rtol=1e-6, atol=1e-6)


def test_what_is_typed_is_said_in_words(visit):
    page = visit()
    field, says = page.get_by_label("φ(z) ="), page.locator("#formula-says")
    numbers = page.locator("#explorer-formula tbody")
    field.fill("erf(z)")
    assert "0.65147" in numbers.inner_text() and "58.9 steps" in numbers.inner_text()
    assert "learns first a linear function of the input." in says.inner_text()
    page.get_by_role("button", name="max(z, 0)").click()
    assert field.input_value() == "max(z, 0)"
    assert "the length of the input (because ϑ₁ ≠ 0)" in says.inner_text()
    page.get_by_label("learning rate").fill("20")
    assert "training diverges: the limit is about 12" in says.inner_text()
    page.get_by_label("dimension d").fill("0")
    assert says.inner_text() == "The dimension d must be a whole number above 0."
    page.get_by_label("dimension d").fill("100")
    field.fill("abs(z)")
    assert says.inner_text().startswith("Nothing linear: ζ = 0")
    field.fill("z^2 - 1 - (z^2 - 1)")
    assert "learns nothing at all" in says.inner_text()


def test_nonsense_gets_a_sentence_and_no_number(visit):
    page = visit()
    field, says = page.get_by_label("φ(z) ="), page.locator("#formula-says")
    for text, answer in NONSENSE.items():
        field.fill("tanh(z)")
        assert page.locator("#explorer-formula table").is_visible()
        field.fill(text)
        assert says.inner_text().startswith(answer), text
        assert field.get_attribute("aria-invalid") == "true"
        assert not page.locator("#explorer-formula table").is_visible()
