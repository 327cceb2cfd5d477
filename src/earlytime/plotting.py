"""One visual style. Every `plot_*` takes results and returns a Figure; nothing trains or is shown here."""

import sys
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from earlytime._arrays import AnyArray, Numbers
from earlytime.claims import Finding, describe_criterion
from earlytime.statistics import fit_power_law
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Network and linear model have these colours on every page (Okabe-Ito, colour-blind safe).
NETWORK, LINEAR = "#0072B2", "#D55E00"
_SMALLEST = 11  # points: nine pixels or more in the book, where a figure is at most 11 inches wide
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_MARKERS = "osD^vPX*"


def use_style() -> None:
    """Set the style of all figures; the background stays white, so they can be read in dark mode.

    In a notebook they are put out below their cell as SVG, sharp on any screen, whatever `MPLBACKEND` says.
    """
    _put_out_below_cells()
    plt.style.use("earlytime.earlytime")
    plt.rcParams["axes.prop_cycle"] = cycler(color=PALETTE)


def _put_out_below_cells() -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        shell.run_line_magic("matplotlib", "inline")
        set_matplotlib_formats("svg", metadata={"Date": None})


def mean_and_band(axes: Axes, x: Numbers, values: Float[AnyArray, "num_seeds r"], **style) -> None:
    """A line for the mean over seeds, with a band from the smallest to the largest seed."""
    x, values = np.asarray(x), np.atleast_2d(np.asarray(values))
    (line,) = axes.plot(x, values.mean(axis=0), **style)
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2, lw=0)


def plain_ticks(axis: Axis, at: Numbers | None = None) -> None:
    """Numbers, not powers of ten, on a logarithmic axis: at 1, 2 and 5 of every decade, or only where it is said."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if at is None else FixedLocator(np.asarray(at).tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if at is None else f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def plot_trajectories(
    steps: Numbers,
    curves: Mapping[str, Float[AnyArray, "num_seeds r"]],
    *,
    ylabel: str,
    title: str = "",
    early_phase: float | None = None,
    logy: bool = False,
    xlabel: str = "step",
    axes: Axes | None = None,
) -> Figure | SubFigure:
    """Curves over training on a logarithmic step axis, with a band over seeds.

    A label that starts with "network" or "linear" has that colour on every page; a second curve
    of the same kind is dashed, a third dotted.

    Args:
        steps: (r,) recorded steps; step 0 is drawn at the left edge.
        curves: label -> (num_seeds, r).
        ylabel, title, xlabel: texts, with units.
        early_phase: the step at which the early phase ends, drawn as a vertical line.
        logy: logarithmic vertical axis.
        axes: where to draw; a new figure if not given.

    Returns:
        Figure.
    """
    axes = plt.subplots()[1] if axes is None else axes
    seen: dict[str, int] = {}
    others = iter(PALETTE[2:] * len(curves))
    for label, values in curves.items():
        kind = label.split()[0].lower().rstrip(":,")
        ours = {"network": NETWORK, "linear": LINEAR}.get(kind)
        dashes = ("-", "--", ":", "-.")[seen.get(kind, 0) % 4] if ours else "-"
        seen[kind] = seen.get(kind, 0) + 1
        mean_and_band(axes, steps, values, label=label, ls=dashes, color=ours or next(others))
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xlim(left=0, right=max(steps))
    if early_phase is not None:
        mark_early_phase(axes, early_phase)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, **({"yscale": "log"} if logy else {}))
    axes.legend()
    return axes.figure


def mark_early_phase(axes: Axes, end: float) -> None:
    """A vertical line where the early phase ends."""
    axes.axvline(end, color="0.4", ls="--", lw=1)
    axes.annotate(
        "early phase ends ",
        (end, 0.99),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="top",
        rotation=90,
        fontsize=_SMALLEST,
        color="0.4",
    )


def plot_power_law(
    sizes: Numbers,
    values: Mapping[str, Float[AnyArray, "num_seeds num_sizes"]],
    *,
    xlabel: str,
    ylabel: str,
    predicted: float | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Figure | SubFigure:
    """Measured points on logarithmic axes, their fitted lines, and the predicted slope.

    Args:
        sizes: (num_sizes,).
        values: label -> (num_seeds, num_sizes); the legend adds the exponent and its 95 % interval.
        xlabel, ylabel, title: texts.
        predicted: the exponent that a theorem asks for, drawn as a grey guide.
        axes: where to draw; a new figure if not given.

    Returns:
        Figure.
    """
    axes = plt.subplots()[1] if axes is None else axes
    sizes = np.asarray(sizes, dtype=float)
    for marker, (label, per_seed) in zip(_MARKERS * len(values), values.items()):
        per_seed = np.asarray(per_seed)
        law = fit_power_law(sizes, per_seed)
        name = f"{label}: " if label else ""
        half = (law.interval[1] - law.interval[0]) / 2
        (line,) = axes.plot(
            sizes, law.prefactor * sizes**law.exponent, lw=1.5, label=f"{name}{law.exponent:+.2f} ± {half:.2f}"
        )
        mean = np.exp(np.log(per_seed).mean(axis=0))
        spread = np.stack([mean - per_seed.min(axis=0), per_seed.max(axis=0) - mean]).clip(0)
        axes.errorbar(sizes, mean, yerr=spread, fmt=marker, color=line.get_color(), ms=5, capsize=2)
    if predicted is not None:
        top = max(float(np.max(np.asarray(v)[:, 0])) for v in values.values()) * 1.3
        axes.plot(
            sizes,
            top * (sizes / sizes[0]) ** predicted,
            color="0.5",
            ls="--",
            lw=1.5,
            label=f"predicted: {predicted:+.3g}",
        )
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel, title=title)
    plain_ticks(axes.xaxis, sizes)
    plain_ticks(axes.yaxis)
    axes.legend(
        title="exponent (95 % interval)", title_fontsize=_SMALLEST, loc="upper left", bbox_to_anchor=(1.01, 1.0)
    )
    return axes.figure


def plot_outputs(
    steps: Numbers,
    network: Float[AnyArray, "r points"],
    linear: Float[AnyArray, "r points"],
    *,
    early_phase: float | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Figure | SubFigure:
    """Outputs on single points over training, network solid against linear model dashed.

    Args:
        steps: (r,) recorded steps.
        network, linear: (r, points) outputs.
        early_phase: the step at which the early phase ends.
        title: text.
        axes: where to draw; a new figure if not given.

    Returns:
        Figure.
    """
    axes = plt.subplots()[1] if axes is None else axes
    for outputs, colour, ls, label in ((network, NETWORK, "-", "network"), (linear, LINEAR, "--", "linear model")):
        lines = axes.plot(steps, outputs, color=colour, ls=ls, lw=1.6)
        lines[0].set_label(label)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xlim(left=0, right=max(steps))
    if early_phase is not None:
        mark_early_phase(axes, early_phase)
    axes.set(xlabel="step", ylabel="output f(x)", title=title)
    axes.legend()
    return axes.figure


def plot_finding(finding: Finding) -> Figure:
    """A claim's cases as intervals over seeds, against the region that its criterion allows.

    Of a claim about every seed, a case is the range of its seeds, with the worst one marked.

    Args:
        finding: from `record_claim`.

    Returns:
        Figure.
    """
    names, every = list(finding.cases), finding.claim.seeds == "every"
    figure, axes = plt.subplots(figsize=(7.0, 1.2 + 0.32 * max(len(names), 1)))
    lows = [case.low for case in finding.cases.values()]
    highs = [case.high for case in finding.cases.values()]
    bounds = list(finding.claim.criterion.values())
    everything = [v for v in lows + highs + bounds if np.isfinite(v)]
    margin = 0.1 * (max(everything) - min(everything) or 1.0)
    left, right = min(everything) - margin, max(everything) + margin
    axes.axvspan(
        finding.claim.criterion.get("at_least", left),
        finding.claim.criterion.get("at_most", right),
        color="#009E73",
        alpha=0.15,
        lw=0,
        label=describe_criterion(finding.claim),
    )
    for row, case in enumerate(finding.cases.values()):
        axes.plot([max(case.low, left), min(case.high, right)], [row, row], color=NETWORK, lw=2)
        axes.plot(case.values, [row] * len(case.values), "|", color=NETWORK, ms=8)
        axes.plot(case.worst if every else case.mean, row, "o", color=NETWORK, ms=5)
    axes.set_yticks(range(len(names)), names)
    shown = "seeds, their range, the worst" if every else "seeds, mean, 95 % interval"
    axes.set(xlim=(left, right), ylim=(len(names) - 0.5, -0.5), xlabel=f"measured ({shown})")
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.suptitle(f"{finding.claim.number}: {finding.verdict}", fontsize="medium")
    figure.legend(loc="outside lower right")
    return figure
