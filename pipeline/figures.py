"""Sphinx extension for the figures of executed notebooks: pages show them, and each has an alternative text.

`` {notebook-figure} hu2020/figure_1 front-page `` is a `{figure}` whose image is the picture that the cell
with that tag put out. A notebook, cell or picture that is not there is a warning, and so is a cell of a
notebook page that puts out a picture and has no text under `mystnb: {image: {alt: ...}}` in its metadata.
"""

import base64
import os
from pathlib import Path
from typing import NamedTuple

import nbformat
from sphinx.directives.patches import Figure
from sphinx.util import logging

logger = logging.getLogger(__name__)


KINDS = {"image/svg+xml": ".svg", "image/png": ".png"}  # the first that an output has is shown


class Picture(NamedTuple):
    """What a cell put out, the ending of its file's name, and its alternative text."""

    content: bytes
    suffix: str
    alt: str


def pictures_of(cell: nbformat.NotebookNode) -> list[Picture]:
    """The pictures among a cell's outputs."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
    found = []
    for data in (output["data"] for output in cell.outputs if "data" in output):
        if kind := next((kind for kind in KINDS if kind in data), None):
            content = data[kind].encode() if kind == "image/svg+xml" else base64.b64decode(data[kind])
            found.append(Picture(content, KINDS[kind], alt))
    return found


def read_picture(notebook: Path, tag: str) -> Picture:
    """The one picture among the outputs of the cells with this tag; **raises** `ValueError` if it is not one."""
    if not notebook.exists():
        raise ValueError(f"no executed notebook {notebook.name}")
    cells = [
        cell
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])
    ]
    pictures = [picture for cell in cells for picture in pictures_of(cell)]
    if len(pictures) != 1:
        raise ValueError(f"expected one picture from the cells tagged {tag!r}, got {len(pictures)}")
    return pictures[0]


def cells_without_alt(notebook: nbformat.NotebookNode) -> list[str]:
    """The first lines of the cells that put out a picture and have no alternative text for it."""
    return [
        cell.source.partition("\n")[0]
        for cell in notebook.cells
        if cell.cell_type == "code" and any(not picture.alt for picture in pictures_of(cell))
    ]


def _check_alt(app, docname, source):
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        for line in cells_without_alt(nbformat.reads(source[0], as_version=4)):
            logger.warning("the figure of the cell %r has no alternative text", line, location=docname)


class NotebookFigure(Figure):
    """`notebook tag` with the options and the caption of `{figure}`; its alternative text is the cell's."""

    required_arguments = 2
    arguments: list[str]

    def run(self):
        env = self.state.document.settings.env
        name, tag = self.arguments
        notebook = Path(env.srcdir, "notebooks", f"{name}.ipynb")
        env.note_dependency(str(notebook))
        try:
            picture = read_picture(notebook, tag)
        except ValueError as error:
            logger.warning("notebook-figure %s: %s", name, error, location=(env.docname, self.lineno))
            return []
        self.options.setdefault("alt", picture.alt)
        place = Path(env.doctreedir, "notebook-figures", f"{name.replace('/', '-')}-{tag}{picture.suffix}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture.content)
        self.arguments = [os.path.relpath(place, Path(env.doc2path(env.docname)).parent)]
        return super().run()


def setup(app):
    app.connect("source-read", _check_alt)
    app.add_directive("notebook-figure", NotebookFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
