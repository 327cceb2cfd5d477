"""A sweep's file: which points it asks for, what is refused, and what of it is done."""

import json
from pathlib import Path
from unittest import mock

import pytest
import run_notebook
from sweep import check_sweep, load_sweep, main
from sweep_points import missing_points, point_file, prepare, read_point, sweep_fingerprint, write_point
from tiny_checkout import ROOT, write

CHECK = """from earlytime import rules

et.check_parameters(
    globals(), seed=rules.seed, width=rules.whole(2, 4096, multiple_of=2), rate=rules.positive,
    phi=rules.activation, dims=[rules.count(9)], results_path=rules.path,
)"""
PARAMETERS = "seed = 0\nwidth = 64\nrate = 0.5\nphi = 'erf'\ndims = [1]\nresults_path = ''"


@pytest.fixture
def sweep(checkout, monkeypatch):
    """Returns a function that reads a sweep of a notebook with a few parameters."""
    monkeypatch.setattr("tiny_checkout.CHECK", CHECK)
    write("notebooks/part/third.ipynb", parameters=PARAMETERS)

    def read(text, name="a_sweep.yaml"):
        Path(name).write_text(f"notebook: part/third\n{text}" if "notebook:" not in text else text)
        return load_sweep(Path(name))

    return read


def varied(sweep, *names):
    return [tuple(point.parameters[name] for name in names) for point in sweep.points]


def test_a_grid_has_every_combination_of_its_values_beside_the_notebook_s_own(sweep):
    found = sweep("fixed: {rate: 0.25}\ngrid: {width: [2, 4], phi: [erf, relu], dims: [[1], [2, 3]]}")
    assert varied(found, "width", "phi") == [(w, p) for w in (2, 4) for p in ("erf", "relu") for _ in range(2)]
    assert {json.dumps(point.parameters["dims"]) for point in found.points} == {"[1]", "[2, 3]"}
    assert {(p.parameters["rate"], p.parameters["seed"]) for p in found.points} == {(0.25, 0)}
    assert all("results_path" not in point.parameters for point in found.points)
    check_sweep(found)


def test_a_point_is_there_once_whichever_way_it_is_asked_for(sweep):
    names = {point.name for point in sweep("grid: {width: [2, 64], phi: [erf]}").points}
    found = sweep("grid: {width: [2, 64]}\nlist: [{width: 2}, {phi: erf}, {}, {width: 64, seed: 0}, {width: 6}]")
    assert varied(found, "width") == [(2,), (64,), (6,)]
    assert names == {point.name for point in found.points[:2]}
    assert len(sweep("").points) == 1


def test_the_name_of_a_point_knows_the_notebook_and_every_parameter(sweep):
    write("notebooks/part/second.ipynb", parameters=PARAMETERS)
    texts = ["", "fixed: {seed: 1}", "fixed: {dims: [1, 2]}", "fixed: {phi: relu}", "notebook: part/second"]
    names = [sweep(text).points[0].name for text in texts]
    assert len(set(names)) == len(texts) and names[0] == sweep("grid: {seed: [0]}").points[0].name


def test_repeats_differ_in_the_seed(sweep):
    found = sweep("grid: {width: [2, 4], seed: [0, 7]}\nrepeats: 3")
    assert varied(found, "seed")[:6] == [(0,), (1_000_000,), (2_000_000,), (7,), (1_000_007,), (2_000_007,)]
    assert [point.repeat for point in found.points] == [0, 1, 2] * 4
    once = {point.name for point in sweep("grid: {width: [2, 4], seed: [0, 7]}").points}
    assert once < {point.name for point in found.points}


SAMPLE = """sample:
  num: {num}
  seed: {seed}
  of:
    {{width: {{low: 2, high: 4096, log: yes, multiple_of: 2}}, rate: {{low: 0.5, high: 2}}, phi: [erf, relu]{more}}}"""


def test_a_sample_stays_where_it_is_when_it_grows(sweep):
    points = lambda num, seed=0, more="": varied(
        sweep(SAMPLE.format(num=num, seed=seed, more=more)), "width", "rate", "phi"
    )
    few, many = points(20), points(200)
    assert many[:20] == few == points(20, more=", seed: {low: 0, high: 999}") and points(20, seed=1) != few
    widths, rates, phis = zip(*many, strict=True)
    assert all(type(width) is int and width % 2 == 0 and 2 <= width <= 4096 for width in widths)
    assert all(type(rate) is float and 0.5 <= rate <= 2 for rate in rates)
    assert 60 < phis.count("erf") < 140
    assert 70 < sum(width < 91 for width in widths) < 130  # the middle, in the logarithm
    assert 70 < sum(rate < 1.25 for rate in rates) < 130
    check_sweep(sweep(SAMPLE.format(num=200, seed=0, more="")))


@pytest.mark.parametrize(
    "text, message",
    [
        ("notebook: part/fourth", r"notebook: expected one of \['first', .*got 'part/fourth'"),
        ("notebook: [part/third]", r"notebook: expected one of .*, got \['part/third'\]"),
        ("notebook: ../notebooks/first", "notebook: expected one of"),
        ("grids: {width: [2]}", r"a sweep: there is no 'grids' \(did you mean grid\?\)"),
        ("grid: {widht: [2]}", r"grid: there is no 'widht' \(did you mean width\?\)"),
        ("fixed: {results_path: here}", "fixed: there is no 'results_path'"),
        ("list: [{widht: 2}]", "list: there is no 'widht'"),
        ("sample: {num: 2, of: {widht: [2]}}", "sample: of: there is no 'widht'"),
        ("grid: {width: 2}", "grid: width: expected a list of values, got 2"),
        ("grid: {width: []}", "grid: width: expected a list of values"),
        ("grid: [width]", "grid: expected names with values"),
        ("grid: {1: [2]}", "grid: expected names with values"),
        ("list: {width: 2}", "list: expected a list of points"),
        ("list: [2]", "list: expected names with values, got 2"),
        ("fixed: {rate: .nan}", "fixed: expected finite numbers"),
        ("fixed: {rate: .inf}", "fixed: expected finite numbers"),
        ("fixed: {seed: 2020-01-01}", "fixed: expected finite numbers"),
        ("fixed: {phi: !!binary aGk=}", "fixed: expected finite numbers"),
        ("repeats: 0", "repeats: expected a whole positive number, got 0"),
        ("repeats: 1.5", "repeats: expected a whole positive number"),
        ("repeats: yes", "repeats: expected a whole positive number, got True"),
        ("limit: -1", "limit: expected a positive number"),
        ("limit: .inf", "limit: expected finite numbers"),
        ("limit: soon", "limit: expected a positive number, got 'soon'"),
        ("threads: 0", "threads: expected a whole positive number"),
        ("notebooks: maybe", "notebooks: expected yes or no"),
        ("sample: {num: 0, of: {}}", "sample: num: expected a whole positive number"),
        ("sample: {num: 1000000, of: {}}", "sample: expected at most 100000 points"),
        ("sample: {num: 1, seed: -1, of: {}}", "sample: seed: expected a whole number"),
        ("sample: {num: 1, of: {width: {low: 4, high: 2}}}", "sample: width: expected low < high"),
        ("sample: {num: 1, of: {rate: {low: 0, high: 2, log: yes}}}", "both above 0 with log"),
        ("sample: {num: 1, of: {rate: {low: a, high: b}}}", "sample: rate: expected low < high"),
        ("sample: {num: 1, of: {width: {low: 3, high: 8, multiple_of: 2}}}", "multiple_of: expected a whole number"),
        ("sample: {num: 1, of: {rate: {low: 3, high: 8, step: 2}}}", "sample: rate: there is no 'step'"),
        ("sample: {num: 1, of: {rate: 3}}", "sample: rate: expected a list, or low and high"),
        ("grid: {seed: [0, 1], width: [*a]}", "expected no aliases"),
        ("fixed: &a {seed: 1}\ngrid: *a", "expected no aliases"),
        ("fixed: !!python/object/apply:os.system ['touch ran']", "cannot be read: .*could not determine a constructor"),
        ("fixed: !!python/name:os.system", "cannot be read: .*could not determine a constructor"),
        ("fixed: {", "cannot be read"),
        ("fixed: " + "[" * 5000, "cannot be read"),
        ("--- 1\n--- 2\nnotebook: 1", "cannot be read"),
        ("- notebook: first", "a sweep: expected names with values"),
        ("plots: {x: width}", "plots: expected a list"),
        ("plots: [{x: width}]", "plots: expected x, and y"),
        ("plots: [{y: gap}]", "plots: expected x, and y"),
        ("plots: [{x: widht, y: gap}]", "plots: x: expected one of seed, width"),
        ("plots: [{x: width, y: gap, hue: results_path}]", "plots: hue: expected one of"),
        ("plots: [{x: width, y: gap, log: z}]", "plots: log: expected one of x, y, xy"),
        ("plots: [{x: width, y: gap, colour: red}]", "plots: there is no 'colour'"),
        ("plots: [{x: width, y: gap, hue: [width]}]", "plots: hue: expected one of"),
    ],
)
def test_what_a_sweep_cannot_be_is_refused_in_one_line_that_names_the_file(sweep, text, message):
    with pytest.raises(ValueError, match=rf"^a_sweep.yaml: .*{message}") as refused:
        sweep(text)
    assert "\n" not in str(refused.value) and not Path("ran").exists()


def test_a_grid_is_counted_before_it_is_made(sweep, monkeypatch):
    values = list(range(100))
    monkeypatch.setattr("sweep.Point", None)  # none can be made
    with pytest.raises(ValueError, match="grid: expected at most 100000 points"):
        sweep("grid:\n" + "".join(f"  {name}: {values}\n" for name in ("seed", "width", "rate", "phi")))


@pytest.mark.parametrize(
    "name", ["a sweep.yaml", "..yaml", "sweep.json", "-n.yaml", "a;b.yaml", ".hidden.yaml", "a$b.yaml"]
)
def test_a_file_whose_name_is_no_name_is_refused(sweep, name):
    with pytest.raises(ValueError, match="expected a name of letters, digits, _ and -"):
        sweep("", name)


def test_a_file_that_is_not_there_or_is_no_text_is_refused(sweep):
    with pytest.raises(ValueError, match="^nothing.yaml: cannot be read"):
        load_sweep(Path("nothing.yaml"))
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="^binary.yaml: cannot be read"):
        load_sweep(Path("binary.yaml"))


def test_values_are_refused_by_the_notebook_s_own_rules_each_once(sweep):
    found = sweep("grid: {width: [2, 3], phi: [erf, reul], seed: [0, 1, 2]}")
    with pytest.raises(ValueError) as refused:
        check_sweep(found)
    lines = str(refused.value).splitlines()
    where = "a_sweep.yaml: notebooks/part/third.ipynb: "
    assert [line.removeprefix(where).split(":")[0] for line in lines] == ["phi", "width"]
    with pytest.raises(ValueError, match="and 10 more"):
        check_sweep(sweep(f"grid: {{width: {list(range(3, 63, 2))}}}"))


def test_the_notebook_is_read_once_for_all_points(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    reads = mock.Mock(wraps=run_notebook._code_cells)
    monkeypatch.setattr(run_notebook, "_code_cells", reads)
    read = {}
    for points in (1, 1000):
        file = tmp_path / "some.yaml"
        file.write_text(f"notebook: hu2020/moments\ngrid: {{seed: {list(range(points))}}}")
        reads.reset_mock()
        found = load_sweep(file)
        check_sweep(found)
        assert len(found.points) == points
        read[points] = reads.call_count
    assert read[1] == read[1000] > 0


def test_what_would_run_is_said_and_nothing_is_made(sweep, capsys, monkeypatch):
    sweep("grid: {width: [2, 4], phi: [erf, relu]}")
    monkeypatch.setattr("sys.argv", ["sweep.py", "a_sweep.yaml"])
    assert main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5 and printed[0].endswith(': width = 2, phi = "erf"')
    assert printed[-1] == "a_sweep: 4 points of part/third, 0 are done, 4 would run"
    assert not Path("_build").exists()
    sweep("grid: {width: [3]}")
    assert main() == 1 and "width: expected a whole number" in capsys.readouterr().err


def finish(found, point, error=""):
    content = {"fingerprint": sweep_fingerprint(found), "error": error, "results": None}
    write_point(found, point, content)
    assert read_point(found, point.name) == content


def test_only_what_is_missing_altered_or_of_other_sources_runs(sweep):
    found = sweep("grid: {width: [2, 4, 6, 8]}")
    assert missing_points(found) == (found.points, [])
    prepare(found, found.points)
    for point in found.points:
        finish(found, point, error="failed" * (point.parameters["width"] == 8))
    assert missing_points(found) == ([], [])
    assert missing_points(found, retry=True) == (found.points[3:], ["they failed: 1 points again"])
    assert missing_points(sweep("grid: {width: [2, 4, 10]}"))[0] == sweep("fixed: {width: 10}").points
    path = point_file(found, found.points[1].name)
    for altered in (path.read_text()[:-10], path.read_text().replace('"error": ""', '"error": "no"'), "", "[]"):
        path.write_text(altered)
        assert missing_points(found) == (found.points[1:2], [f"{path} was cut short or altered: 1 points again"])
    path.unlink()
    assert missing_points(found) == (found.points[1:2], [])
    write("notebooks/part/third.ipynb", "seed", parameters=PARAMETERS)
    assert missing_points(found) == (found.points, ["the source changed: 3 points again"])


def test_points_that_run_now_leave_nothing_of_before_and_others_stay(sweep):
    found = sweep("grid: {width: [2, 4]}")
    prepare(found, found.points)
    for point in found.points:
        finish(found, point)
    half = point_file(found, "half").with_name(".half.json.12")
    half.write_text("{")
    prepare(found, found.points[:1])
    assert [path.name for path in half.parent.iterdir()] == [f"{found.points[1].name}.json"]
