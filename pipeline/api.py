"""Sphinx extension: the reference of the module, made from its docstrings.

The directive `{api}` takes names as a program writes them after `et.`, one a line: `train`, `kernels.kernel_change`.
Each is documented by autodoc, with links to the notebooks that use it.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docstrings
import earlytime
import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from earlytime.rules import Rule
from IPython.core.inputtransformer2 import TransformerManager
from sphinx.addnodes import desc_addname
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

PAGES = "book/api/"
FEW = 5  # notebooks that are listed at once


def _belongs(module, name: str, value: object) -> bool:
    """Whether a function, class or rule is the module's own, or one that it publishes for a private module."""
    if isinstance(value, Rule):
        return module.__name__ == Rule.__module__
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return False
    published = rf"^from \S+ import {name} as {name}$"
    return value.__module__ == module.__name__ or bool(re.search(published, inspect.getsource(module), re.MULTILINE))


@functools.cache
def public_objects() -> Mapping[str, Any]:
    """Every public function, class and rule by its name after `et.`: at the top, or else in its module."""
    found = {name: getattr(earlytime, name) for name in earlytime.__all__}
    top = {id(value) for value in found.values()}
    for info in pkgutil.iter_modules(earlytime.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"earlytime.{info.name}")
            for name, value in vars(module).items():
                if not name.startswith("_") and id(value) not in top and _belongs(module, name, value):
                    found[f"{info.name}.{name}"] = value
    return found


def names_on(page: str) -> list[str]:
    """The names that the `{api}` directives in the text of a page document."""
    blocks = re.findall(r"^```\{api\}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return " ".join(blocks).split()


def names_used(code: str) -> set[str]:
    """The public names that a program uses, whatever it imports them as."""
    tree = ast.parse(code)
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {each.asname or each.name: earlytime for each in node.names if each.name == "earlytime"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "earlytime":
            module = importlib.import_module(str(node.module))
            imported |= {each.asname or each.name: getattr(module, each.name) for each in node.names}

    def resolve(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return imported.get(node.id)
        if isinstance(node, ast.Attribute) and inspect.ismodule(module := resolve(node.value)):
            return getattr(module, node.attr, None)
        return None

    names = {id(value): name for name, value in public_objects().items()}
    return {names[id(found)] for node in ast.walk(tree) if id(found := resolve(node)) in names}


@functools.cache
def notebooks_using(folder: Path) -> Mapping[str, list[str]]:
    """For every public name the notebooks under a folder that use it, such as `hu2020/figure_1`."""
    found: dict[str, list[str]] = {}
    to_python = TransformerManager().transform_cell  # `%pip` and the like are none
    for path in sorted(set(folder.rglob("*.ipynb")) - set(folder.rglob(".ipynb_checkpoints/*"))):
        cells = nbformat.read(path, as_version=4).cells
        code = "".join(to_python(cell.source) for cell in cells if cell.cell_type == "code")
        for name in names_used(code):
            found.setdefault(name, []).append(path.relative_to(folder).with_suffix("").as_posix())
    return found


def reference(code: str, value: Any) -> str | None:
    """What a piece of code in the docstring of `value` is called on the pages; None where it is no public name.

    A name is looked up among the arguments, then as its module would, then at the top, then among all that is public.
    """
    found = re.fullmatch(r"((?:et|earlytime)\.)?(\w+)((?:\.\w+)*)(?:\([^<>]*\))?", code)
    if not found:
        return None
    public, (package, first, rest) = public_objects(), found.groups()
    name = first + rest
    if package or "." in name and name in public:
        return f"earlytime.{name}" if name in public else None
    if first in inspect.signature(value).parameters:
        return None
    own = vars(inspect.getmodule(value)).get(first)
    names = [each for each, thing in public.items() if thing is own] or [first] * (first in public)
    names = names or [each for each, thing in public.items() if each.endswith(f".{first}") and callable(thing)]
    return f"earlytime.{names[0]}" if len(names) == 1 else None


def _used_in(env, value: Any) -> list[str]:
    """Links to the notebooks of this book that use a public name, many of them folded; nothing where none does."""
    name = next((name for name, each in public_objects().items() if each is value), "")
    pages = [f"notebooks/{each}" for each in notebooks_using(Path(env.srcdir, "notebooks")).get(name, [])]
    links = [f":doc:`/{page}`" for page in pages if page in env.found_docs]
    if len(links) > FEW:
        return [
            "",
            f".. dropdown:: Used in {len(links)} notebooks",
            "   :class-container: used-in",
            "",
            f"   {', '.join(links)}",
            "",
        ]
    return ["", ".. container:: used-in", "", f"   Used in {', '.join(links)}", ""] if links else []


def _write_docstring(app, what, name, value, options, lines):
    function = getattr(value, "fget", value)
    try:
        rst = docstrings.to_rst("\n".join(lines), lambda code: reference(code, function))
    except ValueError as error:
        logger.warning("the docstring of %s: %s", name, error)
        return
    lines[:] = [*rst.splitlines(), *_used_in(app.env, value)]


def _write_signature(app, what, name, value, options, arguments, returns):
    return None if what == "property" else docstrings.signature(value, bound=what == "method")


def _skip_fields(app, what, name, value, skip, options):
    # Those of a named tuple are in its signature and in the section on its attributes.
    return True if type(value).__name__ == "_tuplegetter" else None


def _name_the_package(app, domain, kind, content):
    """Show names as the book imports them."""
    for prefix in content.parent.findall(desc_addname):
        text = nodes.Text(re.sub(r"^earlytime\.", "et.", prefix.astext()))
        prefix.children = []
        prefix += text


def _resolve_type(app, env, node, content):
    """Types of signatures: ours are links, those of others plain text."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not node["refdoc"].startswith(PAGES) or target.startswith("earlytime."):
        return None
    names = [name for name, each in public_objects().items() if inspect.isclass(each) and each.__name__ == target]
    if not names:
        return content
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "class", f"earlytime.{names[0]}", node, content)


class ApiDirective(SphinxDirective):
    """Documents the names of its content."""

    has_content = True

    def run(self):
        text = []
        for name in " ".join(self.content).split():
            value = public_objects().get(name)
            if value is None:
                logger.warning("api: no public name %r", name, location=self.get_location())
            elif isinstance(value, Rule):
                content = [f"``{value.expected}``", *_used_in(self.env, value)]
                text += [f".. py:data:: earlytime.{name}", "", *(f"   {line}" for line in content), ""]
            elif inspect.isclass(value):
                text += [f".. autoclass:: earlytime.{name}", "   :members:", ""]
            else:
                text += [f".. autofunction:: earlytime.{name}", ""]
        parent = nodes.Element()
        self.state.nested_parse(StringList(["```{eval-rst}", *text, "```"]), 0, parent)
        return parent.children


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("api", ApiDirective)
    app.connect("autodoc-process-docstring", _write_docstring)
    app.connect("autodoc-process-signature", _write_signature)
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("object-description-transform", _name_the_package)
    app.connect("missing-reference", _resolve_type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
