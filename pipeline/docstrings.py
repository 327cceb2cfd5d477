"""Our docstrings, Markdown with Google's sections, as RST; and signatures as they are written in the source."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

_SECTIONS: Any = Config(napoleon_use_param=False, napoleon_custom_sections=[("Attributes", "params_style")])
_MARKUP = re.compile(
    r"""^(?P<indent>\ *)\$\$(?P<display>[^$]+)\$\$$ | \$(?P<math>[^$]+)\$ | `(?P<code>[^`]+)` | (?P<string>"[^"]*")""",
    re.MULTILINE | re.VERBOSE,
)


def to_rst(text: str, reference: Callable[[str], str | None] = lambda code: None) -> str:
    """A docstring as RST.

    What stands in backticks is linked where `reference` knows a target of it, such as `earlytime.train`. **Raises**
    `ValueError` for a formula or a piece of code that does not end.
    """
    prose, heading, example = text.partition("\nExample:\n")
    if lost := re.search("[$`].*", _MARKUP.sub("", prose)):
        raise ValueError(f"expected pairs of $ or `, got {lost[0]!r}")
    pieces, end = [], 0
    for found in _MARKUP.finditer(prose):
        pieces += [_escape(prose[end : found.start()]), _render(found, reference)]
        end = found.end()
    prose = "".join([*pieces, _escape(prose[end:])])
    # Napoleon would take what stands before a colon for a type.
    prose = re.sub(r"^Returns:$", ":returns:", prose, flags=re.MULTILINE)
    return "\n".join(GoogleDocstring((prose + heading + example).splitlines(), _SECTIONS, what="function").lines())


def _escape(prose: str) -> str:
    return re.sub(r"[\\|*]|_(?!\w)", r"\\\g<0>", prose).replace("->", "→")  # which no line breaks in two


def _render(found: re.Match, reference: Callable[[str], str | None]) -> str:
    if found["display"]:
        lines = [".. math::", "", *(f"    {line.strip()}" for line in found["display"].strip().splitlines())]
        return textwrap.indent("\n".join(lines), found["indent"])
    code = " ".join((found["math"] or found["code"] or found["string"]).split())
    if found["math"]:
        rst = f":math:`{code}`"
    elif target := reference(code):
        rst = f":py:obj:`{code} <{target}>`"
    else:
        rst = f"``{code}``"
    # RST wants a space or punctuation around.
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    left = r"\ " if re.match(r"[^\s(\[{<'\"/:-]", before) else ""
    right = r"\ " if re.match(r"[^\s)\]}>'\"/:.,;!?-]", after) else ""
    return left + rst + right


def signature(value: Any, *, bound: bool = False) -> tuple[str, str | None]:
    """What a function takes and gives, or what a record holds, from the source: ("(x: Float[Array, 'n d'])", "int").

    The first argument of a bound function is left out.
    """
    node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value)))).body[0]
    for each in ast.walk(node):
        if isinstance(each, ast.arg | ast.AnnAssign):
            each.annotation = _tidy(each.annotation)
    if isinstance(node, ast.ClassDef):
        return f"({', '.join(ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign))})", None
    assert isinstance(node, ast.FunctionDef)
    if bound:
        del node.args.args[0]
    returns = _tidy(node.returns)
    return f"({ast.unparse(node.args)})", returns and ast.unparse(returns)


def _tidy(annotation: Any) -> Any:
    """Without quotes around a whole type, and without the blank that jaxtyping needs before a single dimension."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    for each in ast.walk(annotation) if annotation else ():
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            each.value = each.value.strip()
    return annotation
