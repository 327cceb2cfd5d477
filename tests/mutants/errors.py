"""Small errors of the kind that a maintainer makes, planted in source text by cosmic-ray's operators and a few more."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

# Of cosmic-ray's operators those whose errors are near to what was written; others are noticed by any test.
_NAMES = (
    "NumberReplacer AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd "
    "ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_Invert "
    "ReplaceBinaryOperator_Add_Sub ReplaceBinaryOperator_Sub_Add ReplaceBinaryOperator_Mul_Div "
    "ReplaceBinaryOperator_Div_Mul ReplaceBinaryOperator_FloorDiv_Mul ReplaceBinaryOperator_Mod_Add "
    "ReplaceBinaryOperator_Pow_Mul ReplaceBinaryOperator_BitOr_BitAnd ReplaceBinaryOperator_BitAnd_BitOr "
    "ReplaceComparisonOperator_Lt_LtE ReplaceComparisonOperator_LtE_Lt ReplaceComparisonOperator_Gt_GtE "
    "ReplaceComparisonOperator_GtE_Gt ReplaceComparisonOperator_Eq_NotEq ReplaceComparisonOperator_NotEq_Eq "
    "ReplaceComparisonOperator_Is_IsNot ReplaceComparisonOperator_IsNot_Is"
).split()
_OTHER_NAME = {
    name: other
    for pair in ("any all", "max min", "maximum minimum", "argmax argmin", "mean sum", "ones_like zeros_like")
    for name, other in (pair.split(), reversed(pair.split()))
}
# Calls whose arguments may be swapped, or that refuse others at once.
_ANY_ORDER = {"min", "max", "minimum", "maximum", "asarray", "astype", "isinstance", "issubdtype", "getattr", "hasattr"}
# What decides nothing about a result: annotations, messages, and how a function may be called.
_SKIPPED = {"annassign", "tfpdef", "raise_stmt", "fstring", "import_from", "import_name", "parameters", "decorator"}


class DropKeyword(Operator):
    """An argument that is not passed on: f(x, y=1) becomes f(x)."""

    @staticmethod
    def _keywords(node):
        arguments = node.children if node.type in ("arglist", "trailer") else []
        return [i for i, each in enumerate(arguments) if each.type == "argument" and each.children[1] == "="]

    def mutation_positions(self, node):
        for i in self._keywords(node):
            yield node.children[i].start_pos, node.children[i].end_pos

    def mutate(self, node, index):
        i = self._keywords(node)[index]
        if node.type == "trailer":
            del node.children[i]
        else:
            del node.children[max(0, i - 1) : max(2, i + 1)]  # and a comma beside it
        return node

    @classmethod
    def examples(cls):
        return ()


class SwapArguments(Operator):
    """Two arguments in the wrong order: f(x, y) becomes f(y, x), and f(x=1, y=2) becomes f(x=2, y=1)."""

    @staticmethod
    def _pairs(node):
        """Neighbours that may be swapped: the nodes that hold them, and their places there."""
        called = node.parent.get_previous_sibling() if node.type == "arglist" else None
        if called is None or called.get_code().strip(" .") in _ANY_ORDER:
            return
        for i in range(0, len(node.children) - 2, 2):
            one, other = node.children[i], node.children[i + 2]
            kinds = _kind(one), _kind(other)
            if kinds == ("keyword", "keyword"):
                pair = (one, 2), (other, 2)
            elif kinds == ("plain", "plain"):
                pair = (node, i), (node, i + 2)
            else:
                continue
            codes = {holder.children[place].get_code(include_prefix=False) for holder, place in pair}
            if len(codes) == 2:
                yield pair

    def mutation_positions(self, node):
        for (one, i), (other, j) in self._pairs(node):
            yield one.children[i].start_pos, other.children[j].end_pos

    def mutate(self, node, index):
        (one, i), (other, j) = list(self._pairs(node))[index]
        one.children[i], other.children[j] = other.children[j], one.children[i]
        return node

    @classmethod
    def examples(cls):
        return ()


class OtherName(Operator):
    """`any` for `all`, `max` for `min`, and the like."""

    def mutation_positions(self, node):
        if node.type == "name" and node.value in _OTHER_NAME and not _is_keyword(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = _OTHER_NAME[node.value]
        return node

    @classmethod
    def examples(cls):
        return ()


def _kind(argument) -> str:
    """Of an argument of a call: "keyword", "plain", or neither."""
    if argument.type == "argument":
        return "keyword" if argument.children[1] == "=" else ""
    return "" if argument.type in ("string", "strings", "lambdef") else "plain"


def _is_keyword(node) -> bool:
    return node.parent.type == "argument" and node.parent.children[0] is node


class Mutant(NamedTuple):
    """A source with one error, and where it is: the line before and after, without what is around it."""

    line: int
    before: str
    after: str
    source: str


class _Planter(Visitor):
    """Counts an operator's occurrences outside of what is skipped, and carries out one of them."""

    def __init__(self, operator: Operator, wanted: int):
        self.operator, self.wanted, self.count, self.line = operator, wanted, 0, None

    def walk(self, node):
        if node.type in _SKIPPED or _is_checked(node):
            return node
        return super().walk(node)

    def visit(self, node):
        for index, (start, _) in enumerate(list(self.operator.mutation_positions(node))):
            if self.count == self.wanted:
                self.line = start[0]
                node = self.operator.mutate(node, index)
            self.count += 1
        return node


def _is_checked(node) -> bool:
    """Whether it is a call such as check_finite("x", x), whose arguments are for its message."""
    first = node.children[0] if node.type == "atom_expr" else None
    return getattr(first, "value", "").startswith("check_")


def mutants(source: str) -> list[Mutant]:
    """All mutants of a source that are programs, in the order of their lines."""
    provider = OperatorProvider()
    operators = [provider[name]() for name in _NAMES] + [DropKeyword(), SwapArguments(), OtherName()]
    found = [mutant for operator in operators for mutant in _of(operator, source)]
    return sorted({mutant.source: mutant for mutant in found}.values(), key=lambda mutant: mutant.line)


def _of(operator: Operator, source: str) -> Iterator[Mutant]:
    lines, tree = source.splitlines(), ast.dump(ast.parse(source))
    wanted = 0
    while True:
        planter = _Planter(operator, wanted)
        text = planter.walk(get_ast(source)).get_code()
        if planter.line is None:
            return
        wanted += 1
        try:
            if ast.dump(ast.parse(text)) == tree:
                continue
        except SyntaxError:
            continue
        changed = text.splitlines()
        first = next(i for i, (a, b) in enumerate(zip(lines, changed)) if a != b)
        yield Mutant(first + 1, lines[first].strip(), changed[first].strip(), text)
