"""What a notebook's own cells refuse, beyond the rules of its parameters: by name, before anything is trained."""

import ast
import json
import re
from pathlib import Path

import earlytime as et
import jax
import matplotlib as mpl
import pytest
import yaml
from earlytime import _runs

ROOT = Path(__file__).parents[2]
SMOKE = yaml.safe_load((ROOT / "pipeline/profiles/smoke.yaml").read_text())
NOTEBOOKS = sorted(path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").rglob("*.ipynb"))
# Of each notebook what its cells refuse, in the order of the cells: the parameters, and how the message begins.
REFUSED = {
    "beyond/one_step_rank": [
        ({"num_samples": 1000}, "num_samples: expected at most dim, dim_gaussian and dims"),
        ({"scale_ratios": [0.06, 1.0]}, "scale_ratios: expected the smallest <= 0.05, got 0.06"),
    ],
    "beyond/quadratic_features": [
        ({"activation": "erf"}, "activation: expected one that learns degree 1 and degree 2, got erf"),
    ],
    "beyond/rich_regime": [
        ({"depths": [3, 4]}, "depths: expected 2 first, got [3, 4]"),
        ({"num_nonzero": 9}, "num_nonzero: expected at most 8 samples"),
        ({"dim": 300}, "num_samples: too few of 300 for 2 entries"),  # a thousand problems
    ],
    "explorer": [({"num_samples": 3}, "num_samples: expected at least ")],
    "hu2020/after_t": [({"num_steps": 2}, "num_steps: expected more than the early phase")],
    "hu2020/convolution": [({"filter_sizes": [512]}, "filter_sizes: expected some up to dim = ")],
    "hu2020/corollary_3_3": [({"num_test": 2}, "num_test: expected more than ")],
    "hu2020/deep": [({"depth": 3}, "depth: expected one of depths = [2, 4, 8], got 3")],
    "hu2020/figure_1": [({"num_steps": 1}, "num_steps: expected at least ")],
    "hu2020/figure_4": [({"learning_rate_share": 1e-9}, "learning_rate_share: too small for 100000 steps")],
    "lee2019/critical_learning_rate": [({"rates": [0.9, 1.25]}, "rates: expected 0.9, 1.25 and 1.5 among them")],
    "lee2019/ensembles": [
        ({"num_seeds": 2, "num_networks": 3}, "num_networks: expected 2 or more for each of num_seeds = 2, got 3"),
        ({"num_samples_last": 100}, "num_samples_last: expected at most num_samples = "),
        ({"num_samples_last": 12, "width_last": 13}, "width_last: expected at least num_samples_last + 2 = "),
        ({"num_seeds": 1000, "num_networks": 2000}, "num_seeds: expected at most "),
    ],
    "lee2019/linearized": [({"max_parameters": 1}, "max_parameters: expected two widths or more per depth")],
    "lee2019/robustness": [({"batch_size": 9}, "batch_size: expected at most num_samples = 8, got 9")],
    "liu2020/hessian_to_kernel": [({"num_pairs": 1000}, "num_pairs: expected at most num_samples = ")],
    "liu2020/not_lazy": [({"output_scales": [2.0, 3.0]}, "output_scales: expected 1 first, to compare the widths at")],
}


def code_of(name):
    cells = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            yield "import earlytime as et" if "%pip" in source else source, cell["metadata"].get("tags", [])


def raises_in(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]


@pytest.fixture
def as_a_kernel(monkeypatch):
    """What a notebook's first cells set is as before afterwards."""
    for name in ("_announced", "_current"):
        monkeypatch.setattr(_runs, name, getattr(_runs, name))
    monkeypatch.setattr(et, "use_precision", lambda precision: None)  # is for a fresh process alone
    monkeypatch.setattr(et, "train", lambda *data, **options: pytest.fail("trained first"))
    with mpl.rc_context(), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", [path.with_suffix("").as_posix() for path in NOTEBOOKS])
def test_each_refusal_of_a_cell_has_its_case_here(name):
    count = sum(len(raises_in(source)) for source, _ in code_of(name))
    assert count == len(REFUSED.get(name, [])), "a `raise` of a cell needs its case in REFUSED, and every case one"


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        pytest.param(name, *case, marks=[pytest.mark.slow] * ("too few" in case[1]))
        for name, cases in REFUSED.items()
        for case in cases
    ],
)
@pytest.mark.usefixtures("as_a_kernel")
def test_a_cell_refuses_by_name_before_it_trains(name, parameters, message):
    names = {}

    def execute():
        for source, tags in code_of(name):
            exec(compile(source, name, "exec"), names)
            if "parameters" in tags:
                assert set(parameters) <= set(names)
                names.update(SMOKE[name] | parameters)

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        execute()
