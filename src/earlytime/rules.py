"""What a parameter of a notebook may be: one rule for each, given where the notebook declares it.

Values come from papermill and are plain: numbers, strings, lists of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from earlytime.activations import ACTIVATIONS, LeakyRelu
from earlytime.losses import LOSSES


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words and as a test.

    Attributes:
        expected: "a whole number from 1 to 8", as an error says it.
        holds: value -> whether it is so; never raises.
        ordered: whether one value is larger than another, as of numbers.
    """

    expected: str
    holds: Callable[[Any], bool]
    ordered: bool = True

    def check(self, name: str, value: Any) -> None:
        """Raise a `ValueError` that names the parameter unless the value is right.

        Example:
            >>> count(1000).check("width", 0)
            Traceback (most recent call last):
            ...
            ValueError: width: expected a whole number from 1 to 1000, got 0
        """
        if not self.holds(value):
            raise ValueError(f"{name}: expected {self.expected}, got {value!r}")


def whole(at_least: int, at_most: int, *, multiple_of: int = 1) -> Rule:
    """A whole number in a range, both ends included.

    Example:
        >>> whole(2, 8, multiple_of=2).expected
        'a whole number from 2 to 8, a multiple of 2'
    """
    multiple = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
    return Rule(
        f"a whole number from {at_least} to {at_most}{multiple}",
        lambda value: type(value) is int and at_least <= value <= at_most and value % multiple_of == 0,
    )


def count(at_most: int) -> Rule:
    """A whole number from 1 to `at_most`: how many of something there are.

    The bound is what the notebook's largest array allows on a large machine; it is given per parameter, so that
    10⁹ dimensions are refused by name and not by the operating system.
    """
    return whole(1, at_most)


def number(
    *, above: float = -math.inf, at_least: float = -math.inf, below: float = math.inf, at_most: float = math.inf
) -> Rule:
    """A finite number within bounds.

    Example:
        >>> number(at_least=0, below=1).expected
        'a finite number >= 0 and < 1'
    """
    bounds = {">": above, ">=": at_least, "<": below, "<=": at_most}
    said = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if math.isfinite(bound))

    def holds(value) -> bool:
        if type(value) not in (int, float) or value in (math.inf, -math.inf):
            return False
        return above < value < below and at_least <= value <= at_most  # False for NaN

    return Rule(f"a finite number {said}".rstrip(), holds)


def one_of(*choices: str) -> Rule:
    """One of these strings."""
    return Rule(
        "one of " + ", ".join(map(repr, choices)),
        lambda value: isinstance(value, str) and value in choices,
        ordered=False,
    )


def several(rule: Rule, *, at_least: int = 2, increasing: bool = True) -> Rule:
    """A list of at least two entries: what an exponent is fitted to, or a comparison made of.

    Args:
        rule: of every entry.
        at_least: how many there must be.
        increasing: of numbers each is larger than the one before; False: they are different, as words are.

    Example:
        >>> several(positive).check("rates", [8, 8])
        Traceback (most recent call last):
        ...
        ValueError: rates: expected a list of at least 2 increasing entries, each a finite number > 0, got [8, 8]
    """
    increasing = increasing and rule.ordered
    order = "increasing" if increasing else "different"

    def holds(value) -> bool:
        if not isinstance(value, list) or len(value) < at_least or not all(map(rule.holds, value)):
            return False
        if len(set(value)) < len(value):
            return False
        return not increasing or value == sorted(value)

    fewest = f"at least {at_least} " if at_least > 1 else ""
    return Rule(f"a list of {fewest}{order} entries, each {rule.expected}", holds)


def as_rule(rule: "Rule | Sequence[Rule]") -> Rule:
    """A rule itself; [rule] is a list of at least one entry, numbers increasing, words different.

    Raises:
        ValueError: anything else.
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, list) and len(rule) == 1 and isinstance(rule[0], Rule):
        return several(rule[0], at_least=1)
    raise ValueError(f"rule: expected a rule, or a list of one for a list of values, got {rule!r}")


seed = whole(0, 2**32 - 1)  # JAX's keys repeat beyond
positive = number(above=0)
momentum = number(at_least=0, below=1)
activation = one_of(*sorted(ACTIVATIONS))
# Where a second derivative is measured: at a kink it does not see the jump.
smooth = one_of(*sorted(name for name, phi in ACTIVATIONS.items() if not isinstance(phi, LeakyRelu)))
loss = one_of(*LOSSES)
images = one_of("auto", "digits", "cifar10")
precision = one_of("float32", "float64")
path = Rule("a path as a string, '' for none", lambda value: isinstance(value, str))
