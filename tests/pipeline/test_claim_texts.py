"""No text of a claim holds a number that a run decides, and every page says the same of the criteria."""

import fnmatch
import math
import re
from pathlib import Path

import pytest
import yaml
from earlytime import claims
from run_notebook import declared_parameters

ROOT = Path(__file__).parents[2]
PROFILES = [yaml.safe_load(path.read_text()) or {} for path in (ROOT / "pipeline/profiles").glob("*.yaml")]
CLAIMS = claims.load_claims()

REFERENCE = r"\b(?:Theorem|Figure|Section|Claim|Proposition|Corollary)s? \d+(?:\.\d+)*|CIFAR-10|<claim-[^>]*>"
TEX = r"\^\{[^{}]*\}|\^\\?\w|_\{[^{}]*\}|_\w|\\frac ?\d ?\d|\\sqrt ?\d"  # exponents, subscripts, small fractions
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?"
WORDS = {word: 3 + i for i, word in enumerate("three four five six seven eight nine ten eleven twelve".split())}
WORDS |= {"fifteen": 15, "sixteen": 16, "twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100, "thousand": 1000}
WORDS |= {"third": 3, "quarter": 4, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12, "twentieth": 20, "fiftieth": 50}
UNIT = r"(?:layer|neuron|channel|seed|step|sample|input|image|network|block)"
PARTS = "|".join(sorted(WORDS, key=len, reverse=True))

# What the code fixes, or mathematics: claims by patterns of their ids, number -> why no run decides it.
FIXED = {
    "hu2020-proposition-3-4": {4: "m = 4 d^1.25"},
    "hu2020-theorem-3-5-kernel": {4: "m = 4 d^2"},
    "hu2020-theorem-3-6-kernel": {4: "m = 4 d^2"},
    "hu2020-theorem-3-5-kernel-whole": {4: "m = 4 d^1.25"},
    "hu2020-theorem-3-?-train*": {4: "m = 4 d^1.25"},
    "hu2020-theorem-3-?-population*": {4: "m = 4 d^1.25"},
    "hu2020-corollary-3-3": {4: "n = m = 4 d^1.25"},
    "hu2020-norm-feature-*": {3: "three tenths of the run"},
    "hu2020-images-*": {90: "per cent of the way down: where the early phase ends"},
    "hu2020-proposition-4-1-rank-one": {11: "the vector of ones with itself"},
    "hu2020-figure-4b": {3: "three images"},
    "lee2019-function-space": {10: "from a tenth of the run on"},
    "lee2019-flow": {50: "the share of the limit, 0.02, is in the code"},
    "lee2019-ensemble-marginal": {1.96: "standard deviations, for 95 %", 0.95: "what they hold of a Gaussian"},
    "lee2019-not-a-posterior": {10: "a tenth, its criterion"},
    "lee2019-not-a-posterior-any": {1e-9: "rounding in double precision"},
    "lee2019-critical-below": {10: "from a tenth of the run on"},
    "lee2019-critical-boundary": {1.05: "the growth that counts"},
    "lee2019-critical-linear": {10: "base of the logarithm"},
    "liu2020-pl-contraction*": {10: "base of the power at which rounding begins to count"},
    "liu2020-exponential*": {10: "base of powers and of the logarithm", 1.28: "where swish is smallest"},
    "liu2020-slowest-mode": {10: "base of the power at which rounding begins to count"},
}
# The same, although a parameter of the notebook has that value in some profile.
COINCIDENCES = {
    "frei2023-rank-two*": {3: "the first singular value that rank two does not have"},
    "frei2023-kernel-regime": {1: "the book's scale, in the code"},
    "hu2020-claim-3-1-norms": {1: "what squared norms over d are close to"},
    "hu2020-figure-1a-early": {5: "time constants: what the early phase is"},
    "hu2020-figure-1b": {5: "points, [:5] in the code"},
    "hu2020-norm-feature-*": {10: "three tenths of the run"},
    "hu2020-deep-trajectory": {4: "n = 4 d^1.25"},
    "lee2019-critical-below": {0.9: "of `rates`, and the notebook refuses any without it"},
    "lee2019-critical-linear": {1.25: "of `rates`, and the notebook refuses any without it"},
    "lee2019-critical-catapult*": {1.5: "of `rates`, and the notebook refuses any without it"},
    "liu2020-theorem-3-2-ball": {3: "three layers: depth=2 in the code"},
    "liu2020-gradient-norm": {3: "three layers: depth=2 in the code"},
    "zhu2022-not-necessary": {4: "parents, `few` in the code"},
    "zhu2022-*counterexample": {4: "parents, `few` in the code"},
}
# What a notebook derives from its parameters, and records in addition.
DERIVED = {
    "hu2020/figure_4": {"num_samples"},
    "lee2019/linearized": {"width"},
    "lee2019/parameterization": {"width"},
    "lee2019/robustness": {"num_cells"},
}


def numbers_in(text: str) -> set[float]:
    """The numbers of a text, and its number words from three up; without references and exponents."""
    text = re.sub(TEX, "", re.sub(REFERENCE, "", text))
    words = {float(WORDS[word]) for word in re.findall(rf"\b({PARTS})(?:s|th|ths)?\b", text.lower())}
    fractions = rf"({NUMBER})/({NUMBER})"
    values = {float(a.replace(",", "")) / float(b.replace(",", "")) for a, b in re.findall(fractions, text)}
    rest = re.findall(NUMBER, re.sub(fractions, "", text))
    return words | values | {float(number.replace(",", "")) for number in rest}


def free_numbers(text: str) -> set[float]:
    """The numbers of a text that must be accounted for: 0, 1 and 2 of formulas only where they count something."""
    small = re.findall(rf"[a-z](?:_\w)?\s*=\s*({NUMBER})|\b([12]) {UNIT}", re.sub(REFERENCE, "", text))
    counted = {float(number.replace(",", "")) for pair in small for number in pair if number}
    return {number for number in numbers_in(text) if number not in (0, 1, 2)} | (counted - {0})


def texts_of(claim: claims.Claim) -> str:
    why = claim.superseded["why"] if claim.superseded else ""
    return " ".join((claim.statement, claim.measured, claim.caveat, claim.known, why))


def listed(table, claim) -> dict[float, str]:
    return {
        number: reason
        for pattern, entries in table.items()
        if fnmatch.fnmatchcase(claim.id, pattern)
        for number, reason in entries.items()
    }


def parameters_of(notebook: str) -> dict[str, list]:
    """Name -> the values in the notebook and in every profile."""
    declared = declared_parameters(ROOT / f"notebooks/{notebook}.ipynb")
    given = [declared, *((profile.get(notebook) or {}) for profile in PROFILES)]
    return {name: [values[name] for values in given if name in values] for name in declared}


def is_decided_by(number: float, parameters: dict[str, list]) -> bool:
    values = [value for found in parameters.values() for value in found]
    flat = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    numbers = [entry for entry in flat if type(entry) in (int, float)]
    return any(math.isclose(number, value) or math.isclose(number * value, 1) for value in numbers)


def unaccounted(claim: claims.Claim) -> set[float]:
    fixed, coincidences = listed(FIXED, claim), listed(COINCIDENCES, claim)
    parameters = parameters_of(claim.notebook)
    decided = {number for number in fixed if is_decided_by(number, parameters)}
    return (free_numbers(texts_of(claim)) - {*fixed, *coincidences}) | decided


every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)


@every_claim
def test_no_text_holds_a_number_that_a_run_decides(claim):
    assert not unaccounted(claim)


def test_no_number_is_listed_that_no_text_holds():
    for table in (FIXED, COINCIDENCES):
        for pattern, entries in table.items():
            texts = " ".join(texts_of(claim) for claim in CLAIMS.values() if fnmatch.fnmatchcase(claim.id, pattern))
            assert set(entries) <= numbers_in(texts), pattern


@pytest.mark.parametrize(
    "claim_id, text, numbers",
    [
        ("hu2020-theorem-3-2-train", r"with $m = 4 d^{1.25}$, $\eta_1 = d/50$.", {50}),
        ("hu2020-theorem-3-6-train", r"$\eta = d/50$ where $\vartheta_0 = 0$ and $1/2$ otherwise.", {50, 0.5}),
        (
            "hu2020-theorem-3-6-train",
            "Between d = 16 and d = 128 it alone makes an exponent of -0.54.",
            {16, 128, 0.54},
        ),
        ("hu2020-figure-1c", "is smaller for larger $d$, at width 256.", {256}),
        ("hu2020-norm-feature-learned", r"at step 1,000, for the label $\|x\|$, $d = 50$, $\eta = 1$.", {1000, 50, 1}),
        ("hu2020-deep-kernel", "at infinite width, depths 2, 4 and 8, with $n = d^{1.25}$.", {4, 8}),
        ("hu2020-deep-agreement", "At every depth from 2 to 8 the network is close.", {8}),
        ("hu2020-deep-kernel", "Largest gap of a 4-hidden-layer erf network.", {4}),
        ("hu2020-figure-4-cnn-fewer", "Trained on a tenth of the images.", {10}),
        ("lee2019-closed-form", "over all recorded steps and inputs, in float64.", {64}),
        ("lee2019-ensemble-variance", "over one fifth of the networks; step 6 of 64.", {5, 6, 64}),
        ("lee2019-robustness-same-time", r"21.4 of 30 with $\beta = 0.9$.", {21.4, 30, 0.9}),
        ("lee2019-robustness-accuracy", "With 24 training images it is near 0.50 to 0.55.", {24, 0.5, 0.55}),
        ("liu2020-theorem-3-2", "at the start, with 3, 4 and 5 layers.", {3, 4, 5}),
        ("liu2020-output-hessian", r"the largest $\|H\|$ over eight inputs.", {8}),
        ("liu2020-bottleneck-hessian", "the bottleneck has 1 neuron or 4.", {1, 4}),
        ("liu2020-rescaling", "Exponent in the factor, from 1 to 100, of the change.", {100}),
        ("hu2020-after-t-loss", "trained for twenty steps, with 2 seeds", {20, 2}),
    ],
)
def test_numbers_that_a_run_decides_are_found(claim_id, text, numbers):
    assert unaccounted(CLAIMS[claim_id]._replace(measured=text)) == numbers


def test_a_number_of_the_code_that_becomes_a_parameter_is_found(monkeypatch):
    claim = CLAIMS["hu2020-theorem-3-2-train"]
    monkeypatch.setitem(globals(), "parameters_of", lambda notebook: {"activation": ["erf"], "width_share": [0.25]})
    assert unaccounted(claim) == {4}


@every_claim
def test_required_sizes_are_recorded_by_the_notebook(claim):
    known = parameters_of(claim.notebook).keys() | DERIVED.get(claim.notebook, set())
    assert set(claim.requires) <= known


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "book/index.md",
        "book/claims.md",
        "book/conventions.md",
        "src/earlytime/claims.py",
        *(path.relative_to(ROOT) for path in sorted((ROOT / "src/earlytime/papers").glob("*.yaml"))),
    ],
    ids=str,
)
def test_whoever_speaks_of_criteria_speaks_of_the_exception(path):
    text = re.sub(r"[\s#]+", " ", (ROOT / path).read_text())
    assert re.search(r"committed before[^.]*, with one exception", text)


def test_the_exception_is_named():
    assert "claim-hu2020-theorem-3-2-train-log" in (ROOT / "book/conventions.md").read_text()
    assert "hu2020-theorem-3-2-train-log, the first" in (ROOT / "src/earlytime/papers/hu2020.yaml").read_text()
