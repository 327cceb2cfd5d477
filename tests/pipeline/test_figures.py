"""The figures that pages take out of executed notebooks, and their alternative texts."""

import base64

import nbformat
import pytest
from figures import cells_without_alt, pictures_of, read_picture
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PICTURE = b"a picture"


def cell(source, num_pictures, tag="", alt=None):
    picture = {"image/png": base64.b64encode(PICTURE).decode(), "text/plain": "<Figure>"}
    outputs = [new_output("stream", text="printed")]
    outputs += [new_output("display_data", picture) for _ in range(num_pictures)]
    metadata = {"tags": [tag] if tag else []} | ({} if alt is None else {"mystnb": {"image": {"alt": alt}}})
    return new_code_cell(source, metadata=metadata, outputs=outputs)


@pytest.fixture
def notebook(tmp_path):
    """Cells with the tags `none`, `one`, `two` and `twice`, by how many pictures they put out."""
    cells = [
        new_markdown_cell("# A notebook"),
        cell("1", 1),
        cell("2", 0, "none"),
        cell("3", 1, "one"),
        cell("4", 2, "two"),
        cell("5", 1, "twice"),
        cell("6", 1, "twice"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebook.ipynb")
    return tmp_path / "notebook.ipynb"


def test_the_one_picture_of_a_tagged_cell(notebook):
    assert read_picture(notebook, "one") == (PICTURE, ".png", "")


@pytest.mark.parametrize("tag, count", [("absent", 0), ("none", 0), ("two", 2), ("twice", 2)])
def test_any_other_number_of_pictures_is_refused(notebook, tag, count):
    with pytest.raises(ValueError, match=f"one picture from the cells tagged '{tag}', got {count}"):
        read_picture(notebook, tag)


def test_a_missing_notebook_is_refused(notebook):
    with pytest.raises(ValueError, match="no executed notebook other.ipynb"):
        read_picture(notebook.with_name("other.ipynb"), "one")


def test_a_picture_without_alternative_text_is_found():
    cells = [
        new_markdown_cell("# A notebook"),
        cell("figure = described()", 1, alt="A line that falls."),
        cell("figure = forgotten()\naxes.legend();", 2),
        cell("figure = empty()", 1, alt=" "),
        cell("print('nothing drawn')", 0),
    ]
    assert cells_without_alt(new_notebook(cells=cells)) == ["figure = forgotten()", "figure = empty()"]


def test_of_a_picture_in_two_forms_the_sharp_one_is_shown():
    both = {"image/png": base64.b64encode(PICTURE).decode(), "image/svg+xml": "<svg/>", "text/plain": "<Figure>"}
    drawn = new_code_cell("draw()", outputs=[new_output("display_data", both)])
    drawn.metadata["mystnb"] = {"image": {"alt": " A line. "}}
    assert pictures_of(drawn) == [(b"<svg/>", ".svg", "A line.")]
