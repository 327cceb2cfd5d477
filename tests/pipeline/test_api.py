"""The reference of the module: every public name is on one page, says what it does, and lists who uses it."""

import ast
import inspect
import re
import textwrap
from collections import Counter
from pathlib import Path

import earlytime
import pytest
import test_every_function
import yaml
from api import names_on, names_used, notebooks_using, public_objects, reference
from docstrings import signature, to_rst
from earlytime import curvature, infinite_width, kernels, networks, operators, rules
from earlytime.rules import Rule
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book/api").glob("*.md"))
NOTEBOOKS = [path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]


def documented():
    """Every public function and class, and the public methods of the classes, by name."""
    for name, value in public_objects().items():
        if not isinstance(value, Rule):
            yield name, value
        for method, each in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and (inspect.isfunction(each) or isinstance(each, property | classmethod)):
                yield f"{name}.{method}", each


DOCUMENTED = dict(documented())
every_name = pytest.mark.parametrize("name", DOCUMENTED)


def source_of(value):
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value)))).body[0]


def own_nodes(node):
    """What a function does itself, without what it defines."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


def test_every_public_name_is_on_exactly_one_page():
    listed = Counter(name for page in PAGES for name in names_on(page.read_text()))
    assert listed == Counter(public_objects().keys())


def test_every_function_is_tried_with_numbers_of_every_kind():
    """Or it is listed why not."""
    tried = {name.partition(",")[0] for name in test_every_function.CALLS}
    listed = {name for names in test_every_function.NOT_IN_THE_TABLE.values() for name in names}
    assert tried.isdisjoint(listed)
    seen = set()
    for name, value in public_objects().items():
        if inspect.isfunction(value):
            of_it = {name, name.partition(".")[0]} & listed
            assert of_it or {name, name.rpartition(".")[2]} & tried, name
            seen |= of_it
    assert listed <= seen, listed - seen


def test_names_are_public_where_they_are_defined_or_published_for_a_private_module():
    public = public_objects()
    assert {"train", "kernels.kernel_change", "operators.Operator", "rules.seed", "plotting.use_style"} <= public.keys()
    assert public["claims.Claim"].__module__ == "earlytime._claim_files"
    # at the top already; imported from elsewhere; private; no function
    for name in ("gradient_descent.train", "kernels.Operator", "kernels._tangent_product", "losses.LOSSES"):
        assert name not in public


def test_the_table_of_contents_and_the_first_page_have_every_page():
    (part,) = (part for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"] if "module" in part["caption"])
    (first,) = part["chapters"]
    listed = [first["file"], *(section["file"] for section in first["sections"])]
    assert sorted(listed) == [page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES]
    table = re.findall(r"^\| \[[\w ]+\]\((\w+)\)", (ROOT / "book/api/index.md").read_text(), re.MULTILINE)
    assert [f"book/api/{page}" for page in table] == listed[1:]


@every_name
def test_every_docstring_has_a_summary(name):
    text = ast.get_docstring(source_of(DOCUMENTED[name]))
    assert text and text.split("\n\n")[0].endswith("."), f"{name}: expected a sentence first, got {text!r}"


@every_name
def test_what_a_function_raises_is_said(name):
    node = source_of(DOCUMENTED[name])
    if isinstance(node, ast.ClassDef):
        return
    raising = [
        each
        for each in own_nodes(node)
        if isinstance(each, ast.Raise) or isinstance(each, ast.Call) and re.match("_?check_", ast.unparse(each.func))
    ]
    said = re.search(r"^Raises:$|\b[Rr]aises?\b", ast.get_docstring(node) or "", re.MULTILINE)
    assert said or not raising, f"{name} raises and does not say what: {', '.join(map(ast.unparse, raising))}"


@every_name
def test_docstrings_become_rst(name):
    value = DOCUMENTED[name]
    rst = to_rst(ast.get_docstring(source_of(value)) or "")
    without_code = re.sub(r":\w+:`[^`]+`|``[^`]+``|^\.\. math::\n\n(?: +.*\n?)+|>>>.*", "", rst, flags=re.MULTILINE)
    assert not re.search(r"[$`]|^(Args|Attributes|Returns|Raises|Example):$", without_code, re.MULTILINE)


DOCSTRING = r"""Solve $a_x = b$, once.

$$x = \frac ab,
  \quad b = |c|$$

A `train` of `other(x)`s, |z| * 2, two_ or "none".

Args:
    x, y: (n, d) what is
        solved: all of it.

Returns:
    A function (x: (n, d)) -> y.

Raises:
    ValueError: a `b` of 0.

Example:
    >>> print("$`")
    $`
"""
RST = r"""Solve :math:`a_x = b`, once.

.. math::

    x = \frac ab,
    \quad b = |c|

A :py:obj:`train <earlytime.train>` of ``other(x)``\ s, \|z\| \* 2, two\_ or ``"none"``.

:Parameters: **x, y** -- (n, d) what is
             solved: all of it.

:returns:
    A function (x: (n, d)) → y.

:raises ValueError: a ``b`` of 0.

.. rubric:: Example

>>> print("$`")
$`
"""


def test_a_docstring_as_rst():
    assert to_rst(DOCSTRING, {"train": "earlytime.train"}.get).strip() == RST.strip()


@pytest.mark.parametrize("text", ["A $b.", "A `b.", "A $$b.", "A $$b$$ c."])
def test_a_formula_that_does_not_end_is_refused(text):
    with pytest.raises(ValueError, match="expected pairs"):
        to_rst(text)


def test_signatures_are_as_the_source_has_them():
    assert signature(kernels.linear_kernel) == (
        "(features: Callable, x: Num[AnyArray, 'n d'] | Chunks, x2: Num[AnyArray, 'n2 d'] | Chunks | None=None)",
        "Operator",
    )
    assert signature(kernels.gradient_norms)[1] == "Float[Array, 'n']"
    assert signature(rules.as_rule) == ("(rule: Rule | Sequence[Rule])", "Rule")
    assert signature(operators.Operator.matvec, bound=True) == (
        "(u: Num[AnyArray, 'columns'])",
        "Float[Array, 'rows']",
    )
    assert signature(networks.TwoLayerParams) == ("(w: Float[Array, 'width dim'], v: Float[Array, 'width'])", None)


@pytest.mark.parametrize(
    "code, value, target",
    [
        ("train", earlytime.require_finite, "train"),  # at the top
        ("et.hessian_norm(f, x)", earlytime.train, "hessian_norm"),
        ("kernel_dynamics", earlytime.loss_flow, "kernel_dynamics"),
        ("with_output(..., coordinate=)", curvature.output_hessian, "networks.with_output"),  # in another module
        ("KernelDynamics.predict", earlytime.train, "function_space.KernelDynamics"),  # a method: its class
        ("fully_connected", infinite_width.residual, "infinite_width.fully_connected"),  # as its module sees it
        ("earlytime.fully_connected", infinite_width.residual, "fully_connected"),
        ("learning_rate", earlytime.train, None),  # an argument
        ("loss", infinite_width.residual, None),  # no function
        ("kernel @ x", earlytime.train, None),
        (".dense()", earlytime.tangent_kernel, None),
        ("et.no_such_name", earlytime.train, None),
    ],
)
def test_names_in_docstrings_are_links(code, value, target):
    assert reference(code, value) == (target and f"earlytime.{target}")


@pytest.mark.parametrize(
    "code, names",
    [
        ("import earlytime as et\net.train(f)", {"train"}),
        ("import earlytime\nearlytime.gradient_descent.train", {"train"}),  # by its home
        (
            "from earlytime import plotting, train as fit\nfit(plotting.plot_finding(x))",
            {"train", "plotting.plot_finding"},
        ),
        ("from earlytime.operators import Operator\nOperator.from_matrix(x)", {"operators.Operator"}),
        ("import earlytime as et\nfor f in (et.rules.count, et.rules.seed): f", {"rules.count", "rules.seed"}),
        ("import other as et\net.train(f)", set()),
        ("import earlytime as et\ntrain(f), x.train, et.no_such_name, '''et.train'''", set()),
    ],
)
def test_names_that_a_program_uses(code, names):
    assert names_used(code) == names


def test_notebooks_that_use_a_name(tmp_path):
    first = ["%pip install earlytime", "import earlytime as et", "!ls\nrun = et.train(f)"]
    for name, cells in {"part/first": first, "second": ["import earlytime as et\net.train(et.symmetric(f))"]}.items():
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(writes(new_notebook(cells=[new_markdown_cell("# et.compare"), *map(new_code_cell, cells)])))
    both = ["part/first", "second"]
    assert notebooks_using(tmp_path) == {"train": both, "symmetric": ["second"]}


def test_notebooks_of_the_book():
    sources = {path.relative_to(ROOT / "notebooks").with_suffix("").as_posix(): path for path in NOTEBOOKS}
    calling = {name for name, path in sources.items() if re.search(r"\bet\.train[(,]", path.read_text())}
    assert calling and set(notebooks_using(ROOT / "notebooks")["train"]) == calling
