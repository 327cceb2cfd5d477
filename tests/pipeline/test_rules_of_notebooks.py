"""Every parameter of every notebook, tried with what it must not be: refused by its name, before any kernel starts.

The values are made from the rules themselves, as the notebook gives them to `check_parameters`. So that a rule which
allows everything is noticed, too, what must be refused of it is also said without looking at it: nothing below zero,
no zero, no single size where an exponent is fitted.
"""

import ast
import functools
import math
import re
from pathlib import Path
from unittest import mock

import earlytime as et
import nbformat
import pytest
import run_notebook
import yaml
from run_notebook import check_values, declared_parameters

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.relative_to(ROOT / "notebooks").with_suffix("").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
}
PARAMETERS = {name: declared_parameters(path) for name, path in SOURCES.items()}
PROFILES = sorted((ROOT / "pipeline/profiles").glob("*.yaml"))
# What may be 0 or less: the first seed, no momentum, and slopes of an activation.
ZERO = {"seed", "momentum", "leaky_slopes"}


def kind_of(default):
    """Whether a default is a "number" or a "word"; of a list, whether its entries are."""
    return "number" if isinstance(entries_of(default)[0], (int, float)) else "word"


def entries_of(default):
    return default if isinstance(default, list) else [default]


def parameters_where(holds):
    """Parametrizes a test over the parameters of all notebooks whose default is like that."""
    pairs = [(name, key) for name, values in PARAMETERS.items() for key, default in values.items() if holds(default)]
    return pytest.mark.parametrize(("name", "parameter"), pairs)


every_notebook = pytest.mark.parametrize("name", SOURCES)
every_parameter = parameters_where(lambda default: True)


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Thousands of values are tried: each notebook is read and parsed for the first of them."""
    cells, statements = run_notebook._code_cells, run_notebook._top_statements
    is_either = lambda each: run_notebook._imports_rules(each) or run_notebook._checks_parameters(each)
    needed = functools.cache(lambda source: list(filter(is_either, statements(source))))
    with (
        mock.patch.object(run_notebook, "_code_cells", functools.cache(cells)),
        mock.patch.object(run_notebook, "_top_statements", needed),
    ):
        yield


@functools.cache
def rules_of(name):
    """What the notebook hands to `check_parameters`: the rule of every parameter."""
    with mock.patch.object(et, "check_parameters") as called:
        check_values(SOURCES[name], {})
    return called.call_args.kwargs


def assert_refused(name, parameter, value):
    """By the pipeline, and by the notebook's own cell, which anybody's papermill runs."""
    if parameter != "results_path":  # the pipeline's own
        with pytest.raises(ValueError, match=rf"^{re.escape(str(SOURCES[name]))}: {parameter}: "):
            check_values(SOURCES[name], {parameter: value})
    with pytest.raises(ValueError, match=rf"^{parameter}: "):
        et.check_parameters({**PARAMETERS[name], parameter: value}, **rules_of(name))


def assert_accepted(name, parameter, value):
    check_values(SOURCES[name], {parameter: value})


def expected(name, parameter):
    """The rule in words, of a list that of its entries."""
    rule = rules_of(name)[parameter]
    return et.rules.as_rule(rule).expected.rpartition("each ")[2]


def ends(text):
    """(values just inside, values just outside) of a rule for numbers, from its words."""
    if found := re.fullmatch(r"a whole number from (-?\d+) to (\d+)(?:, a multiple of (\d+))?", text):
        low, high, step = int(found[1]), int(found[2]), int(found[3] or 1)
        inside = [math.ceil(low / step) * step, high // step * step]
        return inside, [low - 1, high + 1, inside[0] + 0.5, *([inside[0] + 1] if step > 1 else [])]
    assert text.startswith("a finite number"), text
    inside, outside = [], [math.inf, -math.inf, math.nan]
    for sign, bound in re.findall(r"(<=|>=|<|>) (\S+)", text):
        beyond = math.nextafter(float(bound), -math.inf if ">" in sign else math.inf)
        outside.append(beyond if "=" in sign else float(bound))
        inside += [float(bound)] if "=" in sign else []
    return inside, outside


def wrong_types(default):
    """A string for a number, a number for a string, a scalar for a list and a list for a scalar, raw strings."""
    if isinstance(default, list):
        others = ["8"] if kind_of(default) == "number" else [8]
        return [None, {}, default[0], str(default), f"{default[0]}", [None], [default], *([each] for each in others)]
    return [None, {}, [default], *([str(default), "", True] if kind_of(default) == "number" else [8, 0.5, False])]


@every_notebook
def test_every_parameter_has_a_rule_and_every_rule_a_parameter(name):
    assert list(rules_of(name)) == list(PARAMETERS[name])


@every_notebook
@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_the_defaults_and_all_profiles_keep_the_rules(name, profile):
    check_values(SOURCES[name], (yaml.safe_load(profile.read_text()) or {}).get(name) or {})


@every_parameter
def test_a_value_of_the_wrong_type_is_refused_by_name(name, parameter):
    for value in wrong_types(PARAMETERS[name][parameter]):
        assert_refused(name, parameter, value)


@parameters_where(lambda default: kind_of(default) == "number")
def test_a_number_beyond_the_range_is_refused_by_name(name, parameter):
    default = PARAMETERS[name][parameter]
    inside, outside = ends(expected(name, parameter))
    wrong = outside if parameter in ZERO else [0, -1, *outside]
    for value in wrong:
        assert_refused(name, parameter, [value] if isinstance(default, list) else value)
    for value in inside if not isinstance(default, list) else []:
        assert_accepted(name, parameter, value)


@parameters_where(lambda default: isinstance(default, list))
def test_a_list_needs_different_entries_in_its_range(name, parameter):
    default = PARAMETERS[name][parameter]
    assert_refused(name, parameter, [])
    assert_refused(name, parameter, [*default, default[0]])
    if len(default) > 1 and not isinstance(default[0], str) and parameter != "light_tails":
        # Notebooks take the last for the largest; these are taken one by one, from light to heavy.
        assert_refused(name, parameter, default[::-1])
    if type(default[0]) is int:
        for value in ([*default, 10**9], [10**9], [*default, -default[0]]):
            assert_refused(name, parameter, value)
    if parameter in fitted(name):
        assert_refused(name, parameter, default[:1])


@parameters_where(lambda default: kind_of(default) == "word" and default != "")  # "" is a path, any string
def test_an_unknown_word_is_refused_by_name(name, parameter):
    default = PARAMETERS[name][parameter]
    for word in ("", entries_of(default)[0][:-1], entries_of(default)[0].upper()):
        assert_refused(name, parameter, [word] if isinstance(default, list) else word)


@every_parameter
def test_a_misspelled_name_is_refused(name, parameter):
    misspelled = parameter[0] + parameter[2:]
    assert misspelled not in PARAMETERS[name]
    assert_refused(name, misspelled, PARAMETERS[name][parameter])


def fitted(name):
    """The parameters that an exponent is fitted against: first arguments of `fit_power_law` and `plot_power_law`."""
    code = [cell.source for cell in nbformat.read(SOURCES[name], as_version=4).cells[2:] if cell.cell_type == "code"]
    calls = [node for source in code for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    fits = [call for call in calls if getattr(call.func, "attr", "") in ("fit_power_law", "plot_power_law")]
    return {call.args[0].id for call in fits if isinstance(call.args[0], ast.Name)} & PARAMETERS[name].keys()


def with_parameter(parameter):
    return [name for name, values in PARAMETERS.items() if parameter in values]


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("liu2020/hessian_scaling", "search_step", 0.0),  # which never climbs
        ("liu2020/optimization", "num_betas", 0),
        *((name, "images", "cfar10") for name in with_parameter("images")),
        *((name, "num_anything", -5) for name in SOURCES),
        *((name, "seed", seed) for name in SOURCES for seed in (2**32, 2**40, -1)),  # 2⁴⁰ would be seed 0 again
        *((name, "dims", value) for name in with_parameter("dims") for value in ([10**9], [16, 16], [16, 16, 32])),
        *((name, "dims", "[16, 32]") for name in with_parameter("dims")),  # what `papermill -r` gives
        *((name, "dims", [16]) for name in with_parameter("dims") if "dims" in fitted(name)),
    ],
)
def test_values_that_were_accepted_once(name, parameter, value):
    assert_refused(name, parameter, value)


def test_exponents_are_fitted_in_many_notebooks():
    """So that `fitted` cannot quietly find none."""
    assert {"dims", "widths", "deep_widths", "channel_sizes"} <= set().union(*map(fitted, SOURCES))
    assert sum(bool(fitted(name)) for name in SOURCES) >= 10
