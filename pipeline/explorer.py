"""Sphinx extension: `` {explorer} runs `` lets the reader move through the runs of `notebooks/explorer.ipynb`, and
`` {explorer} formula `` computes the moments of an activation that the reader types.

The runs are in the page itself, as JSON, so that it works from `file://`. They are drawn by Vega-Lite, which
vl-convert-python brings. Compared were, in bytes (compressed): Vega, Vega-Lite and Vega-Embed of vl-convert-python
1.9.0 with 897,608 (304,911), bokeh.min.js of bokeh 3.9.2 with 1,268,134 (352,075), plotly.min.js of plotly 7.1.0
with 4,815,814. Vega alone has 577,137, but the interpreter that needs no `eval` comes with Vega-Embed. Only a page with
the directive loads it.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import vl_convert
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

NOTEBOOK, TAG, MIME = "explorer", "explorer-data", "application/json"
MOST_BYTES = 2_000_000
LIBRARY = "vega-embed.js"
SCRIPTS = (LIBRARY, "formula.js", "explorer.js")
LAYERS = {"both": "both layers", "first": "the first", "second": "the second"}
PLOTS = {
    "losses": ("Loss", "training set thick, test set thin and dashed"),
    "outputs": ("Outputs on four test points", "network solid, linear model dashed"),
    "residual": (
        "What is still wrong on the training set",
        "inside the span of the inputs, which linear functions can change, thick; outside of it thin and dashed",
    ),
    "spectra": ("Eigenvalues of the kernel at step 0", "network dots, linear model rings; over the number of samples"),
}
EXAMPLES = ("tanh(z)", "max(z, 0)", "erf(z) + 0.1*z^2", "abs(z)", "z*sigmoid(z)", "step(z)")


def read_runs(notebook: Path) -> dict[str, Any]:
    """What the cell tagged `explorer-data` put out; **raises** `ValueError` if that is not one JSON of fair size."""
    if not notebook.exists():
        raise ValueError(f"no executed notebook {notebook.name}")
    found = [
        output["data"][MIME]
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])
        for output in cell.outputs
        if MIME in output.get("data", {})
    ]
    if len(found) != 1:
        raise ValueError(f"expected one output of JSON from the cells tagged {TAG!r}, got {len(found)}")
    size = len(inlined(found[0]).encode())
    if size > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES} bytes of JSON for a page, got {size}")
    return found[0]


def inlined(data: dict[str, Any]) -> str:
    """JSON as a page may hold it: no string in it ends the script."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _choice(name: str, legend: str, options: dict[str, str], chosen: str) -> str:
    """A row of radio buttons, which arrow keys move."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{escape(value)}"{" checked" * (value == chosen)}>'
        f"<span>{escape(text)}</span></label>"
        for value, text in options.items()
    )
    return f'<fieldset><legend>{legend}</legend><div class="explorer-choices">{buttons}</div></fieldset>'


def _figure(name: str, title: str, caption: str) -> str:
    return (
        f'<figure><figcaption><strong>{title}</strong><br>{caption}</figcaption><div data-plot="{name}"></div></figure>'
    )


def _without_script(text: str) -> str:
    """What a reader sees until a script takes it away."""
    return f'<p class="explorer-without">{text}</p>'


def runs_html(data: dict[str, Any]) -> str:
    """The controls, the sentence that says what is shown, places for the plots, and the runs."""
    same = lambda values: {str(value): str(value) for value in values}
    middle = lambda values: str(values[len(values) // 2])
    last = len(next(iter(data["runs"].values()))["steps"]) - 1
    choices = [
        _choice("activation", "Activation", same(data["activations"]), data["activations"][0]),
        _choice("dim", "Dimension d", same(data["dims"]), middle(data["dims"])),
        _choice("width", "Width m", same(data["widths"]), str(data["widths"][-1])),
        _choice("trained", "Layers that are trained", LAYERS, "both"),
    ]
    figures = "".join(_figure(name, *texts) for name, texts in PLOTS.items())
    without = _without_script(
        "With JavaScript, here would be controls for activation, dimension, width, trained layers and time, and, next "
        "to each other, the losses, outputs, residuals and spectra of the network and its linear model."
    )
    return f"""{without}
<div class="explorer" id="explorer" hidden>
<form class="explorer-controls">{"".join(choices)}
<div class="explorer-time"><label for="explorer-time">Time: <output for="explorer-time"></output></label>
<input type="range" id="explorer-time" min="0" max="{last}" step="1">
<div class="explorer-phases" aria-hidden="true"><span>early phase</span><span>after it</span></div></div>
</form>
<p class="explorer-says" aria-live="polite"></p>
<p class="explorer-legend"><span class="network">network</span> <span class="linear">linear model</span>
<span class="early">end of the early phase</span> <span class="now">chosen time</span></p>
<div class="explorer-plots">{figures}</div>
<script type="application/json" id="explorer-runs">{inlined(data)}</script>
</div>"""


def formula_html() -> str:
    """A field for the formula, two for d and η, and places for what is computed."""
    examples = "".join(f'<button type="button">{escape(text)}</button>' for text in EXAMPLES)
    without = _without_script(
        "With JavaScript, here would be a field for the formula of an activation, its four moments, the features and "
        "the time constant of its linear model, and what such a network learns first."
    )
    caption = "φ(z) solid; dashed the line ϑ₀ + ζz, which is what a Gaussian input sees of it at first"
    return f"""{without}
<div class="explorer" id="explorer-formula" hidden>
<form class="explorer-controls">
<div class="explorer-field wide"><label for="formula-text">φ(z) =</label>
<input type="text" id="formula-text" value="{escape(EXAMPLES[2])}" maxlength="500" spellcheck="false"
 autocomplete="off" autocapitalize="off" aria-describedby="formula-says"></div>
<div class="explorer-field"><label for="formula-dim">dimension d</label>
<input type="number" id="formula-dim" value="50" min="1" max="1000000" step="1"></div>
<div class="explorer-field"><label for="formula-rate">learning rate η</label>
<input type="number" id="formula-rate" value="1" min="0" step="any"></div>
{_choice("formula-trained", "Layers that are trained", LAYERS, "both")}
<div class="explorer-examples"><span>For example:</span>{examples}</div>
</form>
<div class="explorer-says" id="formula-says" aria-live="polite"></div>
<div class="explorer-plots formula">
<div class="explorer-numbers"><table><tbody></tbody></table></div>
{_figure("formula", "The activation", caption)}
</div>
</div>"""


class ExplorerDirective(SphinxDirective):
    required_arguments = 1

    def run(self):
        (what,) = self.arguments
        if what not in ("runs", "formula"):
            raise self.error(f"explorer: expected runs or formula, got {what!r}")
        if what == "formula":
            return [nodes.raw("", formula_html(), format="html", classes=["explorer"])]
        notebook = Path(self.env.srcdir, "notebooks", f"{NOTEBOOK}.ipynb")
        self.env.note_dependency(str(notebook))
        try:
            html = runs_html(read_runs(notebook))
        except ValueError as error:
            logger.warning("explorer: %s", error, location=self.get_location())
            return []
        return [nodes.raw("", html, format="html", classes=["explorer"])]


def _leave_to_the_directive(app, docname, source):
    """The notebook's own page shows the text of that output; of its JSON it would only say that it cannot."""
    if docname != f"notebooks/{NOTEBOOK}":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", []):
            for output in cell.outputs:
                output.get("data", {}).pop(MIME, None)
    source[0] = nbformat.writes(notebook)


def library() -> str:
    """Vega-Lite as a script that shares no name with others."""
    return f"(() => {{{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"


def _only_on_this_page(app, pagename, templatename, context, doctree):
    if doctree is None or not any("explorer" in raw["classes"] for raw in doctree.findall(nodes.raw)):
        return
    place = Path(app.outdir, "_static", LIBRARY)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(library(), encoding="utf-8")
    for script in SCRIPTS:
        app.add_js_file(script, loading_method="defer")


def setup(app):
    app.add_directive("explorer", ExplorerDirective)
    app.connect("source-read", _leave_to_the_directive)
    app.connect("html-page-context", _only_on_this_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
