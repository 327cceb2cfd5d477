import json
import subprocess
import sys

import earlytime as et
import pytest

GOOD = dict(
    seed=0,
    num_seeds=5,
    dim=50,
    dims=[16, 32],
    width=256,
    activation="erf",
    activations=["erf", "relu"],
    learning_rate=0.5,
    precision="float32",
    results_path="",
    num_samples=10,
    num_test=2,
    num_steps=3,
)


def test_good_parameters_pass_beside_what_a_notebook_holds():
    namespace = GOOD | {"_": 1, "__name__": "x", "In": [], "Out": {}, "et": et, "exit": print}
    et.check_parameters(namespace, *GOOD)


@pytest.mark.parametrize(
    "name, value",
    [
        ("depth", 3),
        ("seed", -1),
        ("seed", 1.5),
        ("num_seeds", 0),
        ("dim", 0),
        ("dims", []),
        ("dims", [16, 0]),
        ("dims", "[16]"),
        ("width", 255),
        ("width", 0),
        ("activation", "swoosh"),
        ("activations", ["erf", "swoosh"]),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "1"),
        ("precision", "float16"),
        ("results_path", None),
        ("num_samples", 0),
        ("num_test", True),
    ],
)
def test_bad_parameters_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: "):
        et.check_parameters(GOOD | {name: value}, *GOOD)


@pytest.mark.parametrize(
    "name, value",
    [
        ("depths", [2, 0]),
        ("kernel_dims", [0]),
        ("wide_dims", []),
        ("filter_sizes", [3.5]),
        ("channels", 0),
        ("deep_widths", [33]),
        ("channel_sizes", [8, 0]),
        ("radii", [1.0, 0.0]),
        ("output_scales", []),
        ("num_rounds", 0),
        ("bottleneck", 0),
        ("batch_size", 0),
        ("num_networks", 2.0),
        ("width_last", 0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", "0.9"),
        ("losses", []),
        ("losses", ["hinge"]),
        ("rates", []),
        ("rates", [1.0, 0.5]),
        ("rates", [0.0, 1.0]),
        ("rates", 1.0),
    ],
)
def test_sizes_of_other_notebooks_are_checked_too(name, value):
    with pytest.raises(ValueError, match=f"^{name}: "):
        et.check_parameters({name: value}, name)


def test_the_results_start_before_the_work(tmp_path):
    path = tmp_path / "new" / "results.json"
    et.check_parameters(GOOD | {"results_path": str(path)}, *GOOD)
    assert json.loads(path.read_text()) == {"claims": {}}
    et.record_not_run("hu2020-images-cifar10", "no data here", results_path=str(path))
    before = path.read_text()
    et.check_parameters(GOOD | {"results_path": str(path)}, *GOOD)
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["", "[]", '{"seed": 1}', None])
def test_a_place_that_cannot_hold_results_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "mine"
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match="^results_path: "):
        et.check_parameters(GOOD | {"results_path": str(path)}, *GOOD)
    assert path.is_dir() if content is None else path.read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_declared_parameter_must_be_there():
    with pytest.raises(ValueError, match="^num_matvecs: declared"):
        et.check_parameters(GOOD, *GOOD, "num_matvecs")


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
