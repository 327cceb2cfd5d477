"""What a notebook's parameters may be, and what is refused by name."""

import json
import subprocess
import sys

import earlytime as et
import numpy as np
import pytest
from earlytime import rules
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

GOOD = {
    "seed": (0, rules.seed),
    "num_seeds": (5, rules.count(1000)),
    "width": (64, rules.whole(2, 10**6, multiple_of=2)),
    "dims": ([8, 16], rules.several(rules.count(4096), increasing=False)),
    "activations": (["erf"], [rules.activation]),
    "rates": ([0.5, 1.0], rules.several(rules.positive)),
    "share": (0.5, rules.number(above=0, at_most=1)),
    "images": ("auto", rules.images),
    "loss": ("squared", rules.loss),
    "momentum": (0, rules.momentum),
    "precision": ("float32", rules.precision),
    "results_path": ("", rules.path),
}
VALUES = {name: value for name, (value, _) in GOOD.items()}
RULES = {name: rule for name, (_, rule) in GOOD.items()}


def test_good_parameters_come_back_without_the_path():
    namespace = VALUES | {"et": et, "_hidden": 1, "In": ["x"], "Out": {}}
    assert et.check_parameters(namespace, **RULES) == {k: v for k, v in VALUES.items() if k != "results_path"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", -1, "a whole number from 0 to 4294967295"),
        ("seed", 2**32, "a whole number from 0 to 4294967295"),
        ("seed", 2**40, "a whole number from 0 to 4294967295"),
        ("seed", 1.0, "a whole number"),
        ("seed", True, "a whole number"),
        ("seed", "0", "a whole number"),
        ("num_seeds", 0, "a whole number from 1 to 1000"),
        ("num_seeds", 10**9, "a whole number from 1 to 1000"),
        ("width", 63, "a multiple of 2"),
        ("dims", 8, "at least 2 different entries"),
        ("dims", "[8, 16]", "at least 2 different entries"),  # papermill -r
        ("dims", [8], "at least 2 different entries"),
        ("dims", [8, 8], "at least 2 different entries"),
        ("dims", [8, 0], "each a whole number from 1 to 4096"),
        ("dims", [8, 10**9], "each a whole number from 1 to 4096"),
        ("dims", [8, [16]], "each a whole number from 1 to 4096"),
        ("activations", [], "a list of different entries"),
        ("activations", ["erf", "erf"], "a list of different entries"),
        ("activations", ["gelu"], "each one of 'abs', 'erf'"),
        ("activations", "erf", "a list of different entries"),
        ("rates", [1.0, 0.5], "increasing"),
        ("rates", [0.0, 0.5], "each a finite number > 0"),
        ("share", 0.0, "a finite number > 0 and <= 1"),
        ("share", 1.1, "a finite number > 0 and <= 1"),
        ("share", float("nan"), "a finite number"),
        ("share", "0.5", "a finite number"),
        ("share", True, "a finite number"),
        ("images", "cfar10", "one of 'auto', 'digits', 'cifar10'"),
        ("images", None, "one of 'auto', 'digits', 'cifar10'"),
        ("loss", "hinge", "one of 'squared', 'cross_entropy'"),
        ("momentum", 1.0, "a finite number >= 0 and < 1"),
        ("momentum", float("-inf"), "a finite number >= 0 and < 1"),
        ("precision", "half", "one of 'float32', 'float64'"),
        ("results_path", None, "a path as a string"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_was_expected_and_came(name, value, expected):
    with pytest.raises(ValueError, match=f"^{name}: expected ") as error:
        et.check_parameters(VALUES | {name: value}, **RULES)
    assert expected in str(error.value) and str(error.value).endswith(f", got {value!r}")


def test_a_name_without_a_rule_is_refused_and_the_right_one_suggested():
    with pytest.raises(ValueError, match=r"^num_sedes: .*did you mean num_seeds\?"):
        et.check_parameters(VALUES | {"num_sedes": 5}, **RULES)
    with pytest.raises(ValueError, match="^nothing_like_it: this notebook has no such parameter; it has activations, "):
        et.check_parameters(VALUES | {"nothing_like_it": None}, **RULES)
    with pytest.raises(ValueError, match="^ratios: this notebook has no such parameter; it has "):  # not `rates`
        et.check_parameters(VALUES | {"ratios": None}, **RULES)


def test_the_cell_can_be_run_again_in_the_same_notebook():
    namespace = dict(VALUES)
    namespace["run_with"] = et.check_parameters(namespace, **RULES)
    namespace["steps"] = [1, 2, 3]
    assert et.check_parameters(namespace, **RULES) == namespace["run_with"]
    with pytest.raises(ValueError, match="^seed: "):
        et.check_parameters(namespace | {"seed": -1}, **RULES)


def test_a_rule_needs_a_value_and_must_be_one():
    with pytest.raises(ValueError, match="^depth: has a rule, but no value"):
        et.check_parameters(VALUES, **RULES, depth=rules.count(8))
    with refused("rule", saying="expected a rule"):
        et.check_parameters(VALUES, **RULES | {"seed": int})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda entries: st.lists(entries, max_size=3) | st.dictionaries(st.text(max_size=2), entries, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from(sorted(RULES)), anything)
def test_no_value_breaks_a_rule_itself(name, value):
    rule = rules.as_rule(RULES[name])
    if rule.holds(value):
        rule.check(name, value)
    else:
        with pytest.raises(ValueError, match=f"^{name}: expected "):
            rule.check(name, value)


@given(st.integers(-5, 20), st.integers(0, 5), st.integers(6, 12))
def test_whole_numbers_are_those_of_the_range(value, low, high):
    assert rules.whole(low, high).holds(value) == (value in range(low, high + 1))


def test_the_results_start_before_the_work(tmp_path):
    path = tmp_path / "new" / "results.json"
    et.check_parameters(VALUES | {"results_path": str(path)}, **RULES)
    started = json.loads(path.read_text())
    assert started["claims"] == started["measured"] == {}
    assert started["run"]["parameters"] == {k: v for k, v in VALUES.items() if k != "results_path"}


@pytest.mark.parametrize("content", ["", "[]", '{"seed": 1}', None])
def test_a_place_that_cannot_hold_results_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "mine"
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match="^results_path: "):
        et.check_parameters(VALUES | {"results_path": str(path)}, **RULES)
    assert path.is_dir() if content is None else path.read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_precision_is_set_before_any_array():
    program = (
        "import earlytime as et, jax.numpy as jnp\n"
        "et.use_precision('float64'); a = jnp.ones(2); assert a.dtype == 'float64'\n"
        "et.use_precision('float64')\n"
        "try: et.use_precision('float32')\n"
        "except RuntimeError as error: assert 'first' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr == ""
    with pytest.raises(ValueError, match="^precision: "):
        et.use_precision("half")


def test_a_smooth_activation_has_no_kink():
    step = 1e-3
    kinks = {
        name
        for name, phi in et.activations.ACTIVATIONS.items()
        if abs(phi(step) - 2 * phi(0.0) + phi(-step)) > 0.1 * step
    }
    assert kinks == {"abs", "relu"}
    for name in et.activations.ACTIVATIONS:
        assert rules.smooth.holds(name) == (name not in kinks)


def test_a_number_may_be_an_end_that_belongs_to_its_range_and_is_finite():
    closed, opened = rules.number(at_least=0, at_most=1), rules.number(above=0, below=1)
    assert [closed.holds(value) for value in (-0.1, 0, 0.5, 1, 1.1)] == [False, True, True, True, False]
    assert [opened.holds(value) for value in (-0.1, 0, 0.5, 1, 1.1)] == [False, False, True, False, False]
    assert [rules.number().holds(value) for value in (-np.inf, -1e300, 1e300, np.inf, np.nan)] == [
        False,
        True,
        True,
        False,
        False,
    ]
