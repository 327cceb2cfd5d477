import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from earlytime import claims, plotting

STEPS = (0, 1, 10, 100)
VALUES = np.abs(np.random.default_rng(0).normal(size=(3, 4))) + 0.1


@pytest.fixture(autouse=True)
def close_figures():
    plotting.use_style()
    yield
    plt.close("all")


def test_network_and_linear_model_keep_their_colours():
    figure = plotting.plot_trajectories(
        STEPS, {"network": VALUES, "linear model": VALUES, "network, test": VALUES}, ylabel="loss", early_phase=10
    )
    first, linear, second = figure.axes[0].lines[:3]
    assert first.get_color() == second.get_color() == plotting.NETWORK and linear.get_color() == plotting.LINEAR
    assert first.get_linestyle() != second.get_linestyle()
    np.testing.assert_allclose(first.get_ydata(), VALUES.mean(axis=0))
    assert figure.axes[0].get_xlabel() == "step" and figure.axes[0].get_ylabel() == "loss"


def test_power_laws_show_fit_and_prediction():
    sizes = np.array([16, 32, 64, 128])
    figure = plotting.plot_power_law(
        sizes, {"erf": 3 * sizes**-0.5 * np.ones((5, 1))}, xlabel="d", ylabel="gap", predicted=-0.25
    )
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[0].startswith("erf: -0.50") and "predicted: -0.25" in labels[-1] and len(labels) == 2


def test_ticks_are_numbers():
    axes = plt.subplots()[1]
    axes.loglog([30, 100, 300], [0.02, 0.1, 0.6])
    plotting.plain_ticks(axes.xaxis, (30, 100, 300))
    plotting.plain_ticks(axes.yaxis)
    axes.figure.canvas.draw()
    bottom, top = axes.get_ylim()
    seen = [label.get_text() for label, at in zip(axes.get_yticklabels(), axes.get_yticks()) if bottom <= at <= top]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["30", "100", "300"]
    assert seen == ["0.02", "0.05", "0.1", "0.2", "0.5"] and not [
        *axes.xaxis.get_minorticklocs(),
        *axes.yaxis.get_minorticklocs(),
    ]


def test_outputs_and_findings():
    assert len(plotting.plot_outputs(STEPS, VALUES.T, VALUES.T).axes[0].lines) == 6
    record = {"cases": {"a": [0.1, 0.2], "b": [0.3, 0.1]}, "sizes": {}, "reason": ""}
    claim = claims.load_claims()["hu2020-claim-3-1-norms"]._replace(requires={"num_seeds": 2})
    figure = plotting.plot_finding(claims.judge(claim, record))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_finding_about_every_seed_marks_the_worst():
    record = {"cases": {"a": [0.1, 0.2], "b": [0.3, 0.1]}, "sizes": {}, "reason": ""}
    claim = claims.load_claims()["liu2020-kernel-bound"]._replace(requires={"num_seeds": 2}, criterion={"at_most": 1.0})
    axes = plotting.plot_finding(claims.judge(claim, record)).axes[0]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"]
    assert dots == [0.2, 0.3] and bars == [(0.1, 0.2), (0.1, 0.3)]
    assert "worst" in axes.get_xlabel() and "every seed" in axes.figure.legends[0].get_texts()[0].get_text()
