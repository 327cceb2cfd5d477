"""A notebook whose training diverges stops there, with the reason, and records nothing."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

ROOT = Path(__file__).parents[2]
SMOKE = yaml.safe_load((ROOT / "pipeline/profiles/smoke.yaml").read_text())
# For a notebook that takes its learning rate from the kernel and has no parameter for it.
TOO_FAST = """
et_train = et.train
et.train = lambda *data, learning_rate, **options: et_train(*data, learning_rate=1e4 * learning_rate, **options)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "added"),
    [
        ("hu2020/norm_feature", {"learning_rate": 100.0}, ""),
        ("lee2019/linearized", {}, TOO_FAST),
        ("liu2020/not_lazy", {"learning_rate_share": 100.0}, ""),
    ],
)
def test_training_that_diverges_stops_the_notebook_before_a_claim(name, parameters, added, tmp_path):
    notebook, results = tmp_path / "notebook.ipynb", tmp_path / "results.json"
    content = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    (check,) = [i for i, cell in enumerate(content.cells) if "et.check_parameters(" in cell.source]
    content.cells.insert(check + 1, new_code_cell(added))
    nbformat.write(content, notebook)
    with pytest.raises(PapermillExecutionError, match="ValueError: learning_rate: training diverged at step"):
        execute_notebook(
            notebook,
            tmp_path / "out.ipynb",
            {**SMOKE[name], **parameters, "results_path": str(results)},
            kernel_name="python3",
            language="python",
            progress_bar=False,
        )
    written = json.loads(results.read_text())
    assert written["claims"] == written["measured"] == {}
