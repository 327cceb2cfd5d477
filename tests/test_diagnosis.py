import dataclasses
import json
import re

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _diagnosis_runs
from earlytime._diagnosis_paths import Path, find_escape
from earlytime._diagnosis_report import assumptions, decisions, verdict
from earlytime.diagnosis import diagnose
from earlytime.diagnosis_plots import plot_diagnoses
from jax.flatten_util import ravel_pytree
from refusals import refused

KEY = jax.random.key(0)
NETWORK = et.two_layer(5, 64, "tanh")
TASK = et.sample_task(KEY, 60, 1, 5)
PARAMS = NETWORK.init(jax.random.key(1))


@pytest.fixture(scope="module")
def found():
    """All samples are measured, and every step uses all of them, so that everything can be computed again."""
    others = [NETWORK.init(jax.random.key(seed)) for seed in (2, 3)]
    return diagnose(NETWORK.apply, PARAMS, TASK.x, TASK.y, num_steps=200, inits=others, progress=False)


@pytest.fixture(scope="module")
def run(found):
    """The same training, recorded at the same steps."""
    return et.train(
        NETWORK.apply,
        PARAMS,
        TASK.x,
        TASK.y,
        learning_rate=found.limits.learning_rate_used,
        num_steps=200,
        record_steps=tuple(int(step) for step in found.path.steps),
        observe=lambda params: params,
    )


def at(run, record):
    return jax.tree.map(lambda leaf: leaf[record], run.observed)


def test_the_limit_is_that_of_the_tangent_kernel(found):
    kernel = et.tangent_kernel(NETWORK.apply, PARAMS, TASK.x).dense()
    assert found.limits.learning_rate == pytest.approx(float(et.kernels.stable_learning_rate(kernel)), rel=1e-3)
    assert found.limits.learning_rate_used == found.limits.learning_rate / 4
    assert found.limits.residual < 0.01
    assert [found.sizes[what] for what in ("samples", "inputs", "outputs", "parameters")] == [60, 5, 1, 384]
    assert set(found.sizes.values()) == {60, 5, 1, 384}  # all samples are measured, for derivatives and kernels, too


def test_a_limit_says_how_far_it_may_be_off(monkeypatch):
    """From two products, so that it is; key 0 is the default."""
    monkeypatch.setattr(_diagnosis_runs, "_NUM_MATVECS", 2)
    limits = diagnose(NETWORK.apply, PARAMS, TASK.x, TASK.y, num_steps=1, progress=False).limits
    curvature = et.curvature.gauss_newton(NETWORK.apply, PARAMS, TASK.x, TASK.y)
    top = et.spectral_norm(curvature, key=jax.random.key(0), num_matvecs=2)
    assert limits.learning_rate == pytest.approx(2 / float(top.value), rel=1e-9)
    assert limits.residual == pytest.approx(float(top.residual / top.value), rel=1e-6) and limits.residual > 1e-3


def test_progress_is_shown_and_ends_where_all_is_done(capsys):
    asked = (NETWORK.apply, PARAMS, TASK.x, TASK.y)
    found = diagnose(*asked, num_steps=9)
    total = 3 + len(found.path.steps) - 1  # three parts, and the recorded steps
    shown = capsys.readouterr().err
    assert "diagnose: 100%" in shown and f" {total}/{total} " in shown
    beside = {step: jax.tree.map(lambda leaf, step=step: leaf + step / 10, PARAMS) for step in (1, 3, 5)}
    followed = diagnose(NETWORK.apply, beside.pop(1), TASK.x, TASK.y, checkpoints=beside)
    assert " 5/5 " in capsys.readouterr().err
    assert np.all(followed.path.remainder_floor[1:] < 1e-10)  # of outputs that are not 0 at the start
    diagnose(*asked, num_steps=9, progress=False)
    assert capsys.readouterr().err == ""


def test_the_kernel_is_the_nearest_of_all_samples(found):
    kernel = et.tangent_kernel(NETWORK.apply, PARAMS, TASK.x).dense()
    nearest = et.nearest_kernels.nearest_linear_kernel(kernel, TASK.x)
    np.testing.assert_allclose(found.kernel[:5], nearest[:5], rtol=1e-6)
    np.testing.assert_allclose(found.kernel.spectrum, nearest.spectrum, rtol=1e-6)


def test_the_path_is_that_of_training(found, run):
    np.testing.assert_allclose(found.path.loss, run.train_loss, rtol=1e-9)
    distances = [float(et.kernels.parameter_distance(at(run, k), PARAMS)) for k in range(len(run.steps))]
    np.testing.assert_allclose(found.path.distance, distances, rtol=1e-9)


def test_the_remainder_is_that_of_the_network_s_own_parameters(found, run):
    linear = et.linearize(NETWORK).apply
    around = et.linearization.LinearizedParams.around(PARAMS)
    for k in (1, 5, len(run.steps) - 1):
        change = jax.tree.map(jnp.subtract, at(run, k), PARAMS)
        expanded = linear(around._replace(change=change), TASK.x)
        gap = np.linalg.norm(run.train_outputs[k] - expanded) / np.linalg.norm(run.train_outputs[k])
        assert found.path.remainder[k] == pytest.approx(gap, rel=1e-6)
    assert np.isnan(found.path.remainder[0]) and np.all(found.path.remainder_floor[1:] < 1e-10)


def test_the_kernel_s_change_is_that_of_the_kernels(found, run):
    kernels = [et.tangent_kernel(NETWORK.apply, at(run, k), TASK.x).dense() for k in (0, len(run.steps) - 1)]
    assert found.path.kernel_change[-1] == pytest.approx(float(et.kernels.kernel_change(jnp.stack(kernels))[1]))
    scale, turn = et.nearest_kernels.kernel_turn(kernels[1], kernels[0])
    assert (found.path.kernel_scale[-1], found.path.kernel_turn[-1]) == pytest.approx((scale, turn))
    assert (found.path.kernel_change[0], found.path.kernel_scale[0], found.path.kernel_turn[0]) == (0, 1, 0)
    known = ~np.isnan(found.path.kernel_turn)
    assert known[0] and known[1] and known[-1] and 5 <= known.sum() <= 7


def test_the_affine_share_falls_as_it_learns_what_is_not_affine(found):
    assert found.path.affine_share[1] > 0.9 > found.path.affine_share[-1] > 0
    assert np.nanmax(found.path.affine_floor) < 0.3


def test_the_radius_is_along_the_first_update_and_noise(found, run):
    direction = jax.tree.map(jnp.subtract, at(run, 1), PARAMS)
    along = et.linear_ranges.linear_range(NETWORK.apply, PARAMS, direction, TASK.x)
    np.testing.assert_allclose(found.radius.distance, along.distances, rtol=1e-6)
    size = float(et.kernels.parameter_distance(PARAMS, jax.tree.map(jnp.zeros_like, PARAMS)))
    assert found.radius.size == pytest.approx(size)
    assert np.all(np.diff(found.radius.noise) > 0) and np.all(np.diff(found.radius.noise_end) > 0)
    # Noise of that size, drawn again, has about that remainder.
    draw = lambda seed: et.TwoLayerParams(*(np.random.default_rng(seed).normal(size=p.shape) for p in PARAMS))
    end = at(run, -1)
    assert found.radius.weights_end == pytest.approx(np.sqrt(np.mean(ravel_pytree(end)[0] ** 2)))
    for there, noise in ((PARAMS, found.radius.noise), (end, found.radius.noise_end)):
        draws = [et.linear_ranges.linear_range(NETWORK.apply, there, draw(seed), TASK.x).multiples for seed in range(9)]
        assert np.all(np.min(draws, axis=0) < noise) and np.all(noise < np.max(draws, axis=0))


def test_several_starts_are_measured_alike_and_differ(found):
    assert len(found.runs) == 3
    steps = [run.escape[0.1].step for run in found.runs]
    assert len(set(steps)) == 3 and all(0 < step <= 200 for step in steps)
    alone = diagnose(NETWORK.apply, NETWORK.init(jax.random.key(3)), TASK.x, TASK.y, num_steps=200, progress=False)
    assert alone.escape[0.1].step == steps[2]


def path_of(steps, remainder, loss) -> Path:
    nothing = np.full(len(steps), np.nan)
    fields = dict.fromkeys(Path._fields, nothing) | {"steps": np.array(steps), "turn_floor": 0.0}
    return Path(**fields | {"remainder": np.array(remainder), "loss": np.array(loss)})


def test_the_escape_is_where_a_power_law_crosses():
    path = path_of([0, 1, 4, 16, 64], [np.nan, 0.01, 0.04, 0.16, 0.64], [1.0, 0.8, 0.6, 0.4, 0.0])
    escape = find_escape(path, 0.08)
    assert (escape.below, escape.above) == (4, 16)
    assert escape.step == pytest.approx(8)
    assert escape.share == pytest.approx(0.5)  # half way from 0.6 to 0.4 in the logarithm of the step
    exact = find_escape(path, 0.04)
    assert (exact.below, exact.above, exact.step) == (1, 4, pytest.approx(4)) and exact.share == pytest.approx(0.4)
    never = find_escape(path, 0.9)
    assert (never.below, never.above, never.step, never.share) == (64, None, np.inf, 1.0)
    at_once = find_escape(path, 0.005)
    assert (at_once.below, at_once.above, at_once.step, at_once.share) == (0, 1, 0.0, 0.0)
    rising = find_escape(path_of([0, 1, 2], [np.nan, 0.1, 0.4], [1.0, 2.0, 3.0]), 0.2)
    assert np.isnan(rising.share)


def test_the_first_update_s_multiple_is_where_the_loss_is_back(found):
    gradient = jax.grad(lambda p: jnp.mean((NETWORK.apply(p, TASK.x) - TASK.y) ** 2) / 2)(PARAMS)
    rate = found.limits.learning_rate_used * found.limits.first_update
    loss = lambda s: float(
        jnp.mean((NETWORK.apply(jax.tree.map(lambda p, g: p - s * g, PARAMS, gradient), TASK.x) - TASK.y) ** 2) / 2
    )
    assert loss(0.97 * rate) < loss(0.0) < loss(1.03 * rate)


def test_checkpoints_are_followed_and_nothing_is_trained(found, run):
    given = {int(step): at(run, k) for k, step in enumerate(run.steps)}
    followed = diagnose(NETWORK.apply, PARAMS, TASK.x, TASK.y, checkpoints=given, progress=False)
    np.testing.assert_allclose(followed.path.remainder[1:], found.path.remainder[1:], rtol=1e-9)
    np.testing.assert_allclose(followed.path.loss, found.path.loss, rtol=1e-9)
    assert followed.escape == found.escape and np.isnan(followed.limits.learning_rate_used)


def test_the_summary_says_what_the_numbers_are(found):
    text = found.summary()
    escape = sorted(run.escape[0.1].step for run in found.runs)
    assert f"until step {escape[1]:.0f} ({escape[0]:.0f}–{escape[2]:.0f}) over 3 starts" in text
    alone = dataclasses.replace(found, runs=found.runs[:1])
    assert f"({found.escape[0.1].below}–{found.escape[0.1].above})" in verdict(alone)
    assert f"{found.limits.learning_rate:.3g}" in alone.summary()
    for row in decisions(found) + assumptions(found):
        assert row.question in text and row.number in text
    met = {row.question: row.passed for row in assumptions(found)}
    assert met["largest over smallest column"] and met["share of the mean in ‖x‖²"]


def test_json_holds_every_number_and_no_nan(found, tmp_path):
    found.to_json(tmp_path / "found.json")
    read = json.loads((tmp_path / "found.json").read_text())
    assert read["runs"][0]["path"]["remainder"][0] is None
    assert read["runs"][1]["limits"]["learning_rate"] == found.runs[1].limits.learning_rate
    assert read["data"]["effective_dim"] == found.data.effective_dim
    assert read["verdict"] == verdict(found) and read["sizes"]["parameters"] == 64 * 6


def test_the_page_is_one_small_file_without_scripts(found, tmp_path):
    found.to_html(tmp_path / "found.html", title="A & B <script>")
    page = (tmp_path / "found.html").read_text()
    assert len(page.encode()) < 100_000
    assert "<script" not in page and "A &amp; B &lt;script&gt;" in page
    assert not re.findall(r"(?:src|href)=\"(?!#)", page.replace('xlink:href="#', ""))
    assert "currentColor" in page and "prefers-color-scheme: dark" in page and page.count("<svg") == 1


def test_figures_of_one_and_of_several(found):
    assert len(found.plot().axes) == 3
    figure = plot_diagnoses([found, found], ["as it comes", "standardized"])
    labels = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert sum(label.startswith("standardized") for label in labels) == 6
    with refused("labels"):
        plot_diagnoses([found, found])
    with refused("diagnoses"):
        plot_diagnoses([])


def test_subsamples_fit_the_memory():
    small = diagnose(NETWORK.apply, PARAMS, TASK.x, TASK.y, num_steps=2, memory=8 * 64 * 6 * 20, progress=False)
    assert small.sizes["samples of the kernel"] == 20 and small.sizes["samples measured"] == 60


def test_a_run_that_diverges_ends_where_it_did():
    class Jump:
        """Fine at first, and far away later."""

        init = staticmethod(lambda params: jnp.zeros((), int))

        @staticmethod
        def update(gradients, count, params=None):
            rate = jnp.where(count < 5, 0.1, 1e200)
            return jax.tree.map(lambda g: -rate * g, gradients), count + 1

    found = diagnose(NETWORK.apply, PARAMS, TASK.x, TASK.y, optimizer=Jump, num_steps=50, progress=False)
    assert found.path.steps[-1] <= 7 and any("not finite after step" in text for text in found.warnings)


def test_classes_and_outputs_that_do_not_start_at_zero():
    network = et.fully_connected(5, 32, "tanh", depth=1, num_outputs=3)
    params = network.init(KEY)
    classes = np.argmax(np.asarray(TASK.x)[:, :3], axis=1)
    found = diagnose(network.apply, params, TASK.x, classes, loss="cross_entropy", num_steps=1, progress=False)
    start = np.asarray(network.apply(params, TASK.x))
    jacobian = jax.jacobian(lambda p: network.apply(p, TASK.x))(params)
    flat = np.concatenate([np.asarray(leaf).reshape(60, 3, -1) for leaf in jax.tree.leaves(jacobian)], axis=2)
    p = np.asarray(jax.nn.softmax(start))
    second = np.einsum("ia,ab->iab", p, np.eye(3)) - np.einsum("ia,ib->iab", p, p)
    curvature = np.einsum("iap,iab,ibq->pq", flat, second, flat) / 60
    assert found.limits.learning_rate == pytest.approx(2 / np.linalg.eigvalsh(curvature)[-1], rel=0.02)
    averaged = np.einsum("iap,jap->ij", flat, flat) / 3
    nearest = et.nearest_kernels.nearest_linear_kernel(averaged, TASK.x)
    assert found.kernel.gap == pytest.approx(nearest.gap) and found.baseline.train_loss < found.path.loss[0]
    # One step of gradient descent, and the expansion around a start that is not 0.
    gradient = np.einsum("iap,ia->p", flat, p - np.eye(3)[classes]) / 60
    change = -found.limits.learning_rate_used * gradient
    _, unravel = ravel_pytree(params)
    moved = jax.tree.map(jnp.add, params, unravel(jnp.asarray(change)))
    learned = np.asarray(network.apply(moved, TASK.x)) - start
    gap = np.linalg.norm(learned - flat @ change) / np.linalg.norm(learned)
    assert found.path.remainder[1] == pytest.approx(gap, rel=1e-6) and np.linalg.norm(start) > 0.1
    assert found.sizes["outputs"] == 3


@pytest.mark.parametrize(
    ("change", "name", "saying"),
    [
        ({"x": TASK.x[:3], "y": TASK.y[:3]}, "x", "at least 8"),
        ({"y": TASK.y[:3]}, "y", ""),
        ({"num_steps": 0}, "num_steps", ""),
        ({"batch_size": 0}, "batch_size", ""),
        ({"memory": 0.0}, "memory", ""),
        ({"tolerances": (0.3, 0.1)}, "tolerances", ""),
        ({"optimizer": 0.1}, "optimizer", "optax.sgd"),
        ({"optimizer": max}, "optimizer", ""),
        ({"loss": "hinge"}, "loss", ""),
        ({"checkpoints": {0: PARAMS}}, "checkpoints", "after step 0"),
        ({"checkpoints": {1: PARAMS._replace(w=PARAMS.w[:2])}}, "checkpoints", "step 1"),
        ({"checkpoints": {1: PARAMS}, "inits": [PARAMS]}, "inits", ""),
        ({"features": lambda x: x[:5]}, "features", ""),
        ({"features": lambda x: x[:, 0]}, "features", ""),
        ({"apply_fn": lambda p, x: NETWORK.apply(p, x[None])[0]}, "apply_fn", "jax.vmap"),
        ({"apply_fn": lambda p, x: NETWORK.apply(p, x)[:, None, None] * jnp.ones((1, 2, 3))}, "apply_fn", "position"),
        ({"apply_fn": lambda p, x: (NETWORK.apply(p, x), {})}, "apply_fn", "several"),
        ({"apply_fn": lambda p, x: NETWORK.apply(p, x) - jnp.mean(NETWORK.apply(p, x))}, "apply_fn", "evaluation"),
        (
            {"apply_fn": lambda p, x: NETWORK.apply(p, x) + np.random.default_rng().normal() * p.v[:1]},
            "apply_fn",
            "from one call to the next",
        ),
    ],
)
def test_what_is_refused(change, name, saying):
    arguments = {"apply_fn": NETWORK.apply, "params": PARAMS, "x": TASK.x, "y": TASK.y, "progress": False} | change
    with refused(name, saying=saying):
        diagnose(
            arguments.pop("apply_fn"), arguments.pop("params"), arguments.pop("x"), arguments.pop("y"), **arguments
        )


def test_a_state_among_the_parameters_is_refused_by_its_path():
    variables = {"params": PARAMS, "batch_stats": {"norm": {"mean": jnp.zeros(64)}}}
    with refused("params['batch_stats']['norm']['mean']", saying="params\\['params'\\]"):
        diagnose(lambda p, x: NETWORK.apply(p["params"], x), variables, TASK.x, TASK.y, progress=False)


@pytest.mark.slow
def test_warnings_name_what_is_unusual():
    network = et.networks.with_output(et.fully_connected(5, 8, "tanh", depth=1, num_outputs=2), "softmax")
    x = np.asarray(TASK.x) * [1000, 1, 1, 1, 1]
    labels = np.eye(2)[(x[:, 0] > 0).astype(int)]
    found = diagnose(network.apply, network.init(KEY), x[:24], labels[:24], num_steps=1, progress=False)
    said = "\n".join(found.warnings)
    assert "probabilities" in said and "standardize" in said and "fewer than 5" in said
    assert "warning: x: the columns" in found.summary()


@pytest.mark.slow
def test_tokens_need_features_and_say_so():
    tokens = np.random.default_rng(0).integers(0, 6, (80, 4))
    params = {"embedding": jax.random.normal(KEY, (6, 16)), "readout": jax.random.normal(jax.random.key(1), (16,))}
    apply_fn = lambda p, x: jnp.tanh(p["embedding"][x].mean(axis=1)) @ p["readout"] / 4
    y = (tokens == 2).sum(axis=1) - 0.5
    counts = lambda x: jax.nn.one_hot(x, 6).sum(axis=1)[:, :5]
    bare = diagnose(apply_fn, params, tokens, y, num_steps=20, progress=False)
    told = diagnose(apply_fn, params, tokens, y, features=counts, num_steps=20, progress=False)
    assert any("tokens" in text for text in bare.warnings) and not any("tokens" in text for text in told.warnings)
    assert told.path.affine_share[-1] > 0.8 > bare.path.affine_share[-1]
    assert told.sizes["inputs"] == 5 and told.path.remainder[-1] == bare.path.remainder[-1]
