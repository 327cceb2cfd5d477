"""Sphinx extension: a page shows a figure out of an executed notebook.

`` {notebook-figure} hu2020/figure_1 front-page `` is a `{figure}` whose image is the picture that the cell
with that tag put out. A notebook, cell or picture that is not there is a warning.
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


class NotebookFigure(Figure):
    """`notebook tag` with the options and the caption of `{figure}`; `:alt:` is required."""

    required_arguments = 2

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
    app.add_directive("notebook-figure", NotebookFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
