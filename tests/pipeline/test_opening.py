"""What stands under a notebook's title."""

from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook
from opening import box, chips, ran
from some_results import CLAIM, RECORD, RUN


def test_a_chip_per_claim_links_to_its_record(results):
    found = results(RECORD)
    (failed, absent) = found.findings.values()
    assert chips([failed], judged=True) == "[{ref}`✗ Theorem 1 <claim-a-claim>`]{.verdict .not-reproduced}"
    assert chips([absent], judged=True) == "[{ref}`○ Theorem 1 <claim-other>`]{.verdict .not-run}"
    assert chips([failed], judged=False) == "[{ref}` Theorem 1 <claim-a-claim>`]{.verdict .not-judged}"
    replaced = failed._replace(claim=CLAIM._replace(superseded={"by": "other", "why": "Too wide."}))
    assert chips([replaced], judged=True) == ""


def test_what_it_was_run_with_is_what_ran():
    parameters = {"seed": 0, "num_seeds": 5}
    assert ran(RUN, parameters) == (
        "Run with 5 seeds from 0 on, the profile `standard` and jax 1, on cpu, in 61 s, 20 s of them compiling."
    )
    assert "with seed 7," in ran(RUN | {"parameters": {"seed": 7, "num_seeds": 1}}, parameters)


def test_the_box_has_the_claims_of_its_notebook_and_its_figure(results, tmp_path):
    path = tmp_path / "first.ipynb"
    cell = new_code_cell("seed = 0\nnum_seeds = 5", metadata={"tags": ["parameters"]})
    write(new_notebook(cells=[cell]), path)
    text = box("part/first", path, results(RECORD))
    assert "<claim-a-claim>" in text and "<claim-other>" not in text
    assert "```{notebook-figure} part/first headline\n```" in text and "5 seeds from 0 on" in text
