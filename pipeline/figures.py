"""Sphinx extension for the figures of executed notebooks: pages show them, and each has an alternative text.

`` {notebook-figure} hu2020/figure_1 front-page `` is a `{figure}` whose image is the picture that the cell
with that tag put out. A notebook, cell or picture that is not there is a warning, and so is a cell of a
notebook page that puts out a picture and has no text under `mystnb: {image: {alt: ...}}` in its metadata.
"""

import base64
import os
from pathlib import Path

import nbformat
from sphinx.directives.patches import Figure
from sphinx.util import logging

logger = logging.getLogger(__name__)


def read_picture(notebook: Path, tag: str) -> bytes:
    """The one PNG among the outputs of the cells with this tag; **raises** `ValueError` if it is not one."""
    if not notebook.exists():
        raise ValueError(f"no executed notebook {notebook.name}")
    cells = [
        cell
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])
    ]
    data = [output["data"] for cell in cells for output in cell.outputs if "data" in output]
    pictures = [entry["image/png"] for entry in data if "image/png" in entry]
    if len(pictures) != 1:
        raise ValueError(f"expected one picture from the cells tagged {tag!r}, got {len(pictures)}")
    return base64.b64decode(pictures[0])


def cells_without_alt(notebook: nbformat.NotebookNode) -> list[str]:
    """The first lines of the cells that put out a picture and have no alternative text for it."""
    return [
        cell.source.partition("\n")[0]
        for cell in notebook.cells
        if cell.cell_type == "code"
        and any("image/png" in output.get("data", {}) for output in cell.outputs)
        and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
    ]


def _check_alt(app, docname, source):
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        for line in cells_without_alt(nbformat.reads(source[0], as_version=4)):
            logger.warning("the figure of the cell %r has no alternative text", line, location=docname)


class NotebookFigure(Figure):
    """`notebook tag` with the options and the caption of `{figure}`; `:alt:` is required."""

    required_arguments = 2
    arguments: list[str]

    def run(self):
        env = self.state.document.settings.env
        name, tag = self.arguments
        notebook = Path(env.srcdir, "notebooks", f"{name}.ipynb")
        env.note_dependency(str(notebook))
        try:
            if not self.options.get("alt"):
                raise ValueError("expected an alternative text in :alt:")
            picture = read_picture(notebook, tag)
        except ValueError as error:
            logger.warning("notebook-figure %s: %s", name, error, location=(env.docname, self.lineno))
            return []
        place = Path(env.doctreedir, "notebook-figures", f"{name.replace('/', '-')}-{tag}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture)
        self.arguments = [os.path.relpath(place, Path(env.doc2path(env.docname)).parent)]
        return super().run()


def setup(app):
    app.connect("source-read", _check_alt)
    app.add_directive("notebook-figure", NotebookFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
