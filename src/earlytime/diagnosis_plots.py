"""Figures of diagnoses: one, or several over each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from earlytime.plotting import LINEAR, NETWORK, PALETTE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from earlytime.diagnosis import Diagnosis

# Of axes and texts: black but for a bit, so that a page can tell it from other colours.
INK = "#010101"


def plot_diagnoses(diagnoses: Sequence["Diagnosis"], labels: Sequence[str] | None = None) -> Figure:
    """Losses, remainders and kernels over training, of several networks in one figure.

    Of a network with several starts, the first is a line and the others make a band.

    Args:
        diagnoses: from `earlytime.diagnose`, of a network as it came and as it was changed, say.
        labels: one for each; needed for more than one.

    Returns:
        Figure, of three panels.

    Raises:
        ValueError: no diagnosis, or another number of labels.
    """
    if not len(diagnoses):
        raise ValueError("diagnoses: expected at least one")
    names = [""] if labels is None and len(diagnoses) == 1 else list(labels or [])
    if len(names) != len(diagnoses):
        raise ValueError(f"labels: expected {len(diagnoses)}, one for each of diagnoses, got {len(names)}")
    ink: Any = {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
    }
    with plt.rc_context(ink):
        figure, panels = plt.subplots(1, 3, figsize=(11.0, 4.2), layout="constrained")
        for axes, panel in zip(panels, (_losses, _remainders, _kernels)):
            panel(axes, diagnoses, names)
            axes.set_xscale("symlog", linthresh=1, linscale=0.5)
            axes.set(xlabel="step", xlim=(0, max(int(found.path.steps[-1]) for found in diagnoses)))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=11, frameon=False)
    return figure


def _named(name: str, what: str) -> str:
    return f"{name}: {what}" if name else what


def _colours(names, alone):
    """One colour for each network; of a single one, a colour for each curve."""
    return [alone] if len(names) == 1 else PALETTE * len(names)


def _curve(axes: Axes, found: "Diagnosis", field, colour, label: str, style: str = "-") -> None:
    """A line for the first start, a band for all of them."""
    steps = found.path.steps
    rows = np.stack([field(run.path) for run in found.runs if len(run.path.steps) == len(steps)])
    known = ~np.isnan(rows).all(axis=0)
    axes.plot(steps[known], rows[0][known], style, color=colour, label=label, lw=1.8, marker="o", ms=3)
    if len(rows) > 1:
        axes.fill_between(
            steps[known],
            np.nanmin(rows[:, known], axis=0),
            np.nanmax(rows[:, known], axis=0),
            color=colour,
            alpha=0.2,
            lw=0,
        )


def _losses(axes: Axes, diagnoses, names) -> None:
    for found, name, colour in zip(diagnoses, names, _colours(names, NETWORK)):
        _curve(axes, found, lambda path: path.loss, colour, _named(name, "network"))
        best = found.baseline.train_loss
        axes.axhline(best, color=colour if name else LINEAR, ls="--", lw=1.2, label=_named(name, "best affine"))
    axes.set_yscale("log")
    axes.set(title="Loss", ylabel="training loss")


def _remainders(axes: Axes, diagnoses, names) -> None:
    for found, name, colour in zip(diagnoses, names, _colours(names, NETWORK)):
        _curve(axes, found, lambda path: path.remainder, colour, _named(name, "not linear in θ"))
        other = colour if name else LINEAR
        _curve(axes, found, lambda path: 1 - path.affine_share, other, _named(name, "not affine in x"), "--")
    for tolerance in diagnoses[0].tolerances:
        axes.axhline(tolerance, color=INK, lw=0.8, ls=":")
        axes.annotate(f"{tolerance:g}", (0.02, tolerance), xycoords=("axes fraction", "data"), va="bottom", fontsize=11)
    axes.set_yscale("log")
    axes.set(title="What is not linear", ylabel="share")


def _kernels(axes: Axes, diagnoses, names) -> None:
    for found, name, colour in zip(diagnoses, names, _colours(names, NETWORK)):
        _curve(axes, found, lambda path: np.abs(path.kernel_scale - 1), colour, _named(name, "growth, |scale − 1|"))
        other = colour if name else LINEAR
        _curve(axes, found, lambda path: path.kernel_turn, other, _named(name, "turn, 1 − CKA"), "--")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(title="Tangent kernel", ylabel="change")
