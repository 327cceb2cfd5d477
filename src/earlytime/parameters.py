"""What a notebook checks before it computes: that every parameter keeps its rule."""

import difflib
import types
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from earlytime import _runs
from earlytime._compile_cache import keep_compiled_programs
from earlytime.claims import prepare_results
from earlytime.rules import Rule, as_rule

# What papermill can give a parameter.
_PLAIN = (bool, int, float, str, list, dict, types.NoneType)
# In a namespace whose names have been looked at once: what has a name since then is the notebook's own.
_SEEN = "_earlytime_names_are_parameters"


class ParameterError(ValueError):
    """A parameter that a notebook refuses. In a notebook it shows itself in one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def check_parameters(namespace: MutableMapping[str, Any], /, **rules: Rule | Sequence[Rule]) -> dict[str, Any]:
    """Refuse parameters that a notebook did not declare, and values that break their rule.

    Call it in the first cell after the parameters, before anything else has a name; that cell may be run again
    later, when names are looked at no more. It also starts the file at `results_path`, if one is given, and lets JAX
    keep what the notebook compiles in the user's cache folder: the environment variable EARLYTIME_COMPILE_CACHE is
    another folder, or "off".

    Args:
        namespace: the notebook's `globals()`.
        rules: for every parameter what it may be, from `earlytime.rules`; [rule] for a list.

    Returns:
        The parameters and their values, without results_path: what `record_claim` takes as sizes.

    Raises:
        ParameterError: a `ValueError` in one line: for a name in the namespace that is a plain value and has no rule,
            a parameter with a rule that is missing, a value that breaks its rule, or a results_path that cannot be
            written or has another run's results.

    Example:
        >>> from earlytime import rules
        >>> check_parameters({"seed": 0, "width": 255}, seed=rules.seed, width=rules.whole(2, 512, multiple_of=2))
        Traceback (most recent call last):
        ...
        earlytime.parameters.ParameterError: width: expected a whole number from 2 to 512, a multiple of 2, got 255
    """
    try:
        parameters = _checked(namespace, rules)
        _runs.begin(parameters)
        if "results_path" in rules:
            prepare_results(namespace["results_path"])
    except ValueError as error:
        raise ParameterError(str(error)) from None
    namespace[_SEEN] = True
    keep_compiled_programs()
    return parameters


def _checked(namespace: Mapping[str, Any], rules: Mapping[str, Rule | Sequence[Rule]]) -> dict[str, Any]:
    for name, value in namespace.items():
        plain = isinstance(value, _PLAIN) and not name.startswith("_") and name not in ("In", "Out")
        if plain and name not in rules and _SEEN not in namespace:
            close = difflib.get_close_matches(name, rules, n=1, cutoff=0.75)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{name}: this notebook has no such parameter{hint}; it has {', '.join(sorted(rules))}")
    for name, rule in rules.items():
        if name not in namespace:
            raise ValueError(f"{name}: has a rule, but no value")
        as_rule(rule).check(name, namespace[name])
    return {name: namespace[name] for name in rules if name != "results_path"}
