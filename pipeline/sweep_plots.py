"""The plots of a sweep, of its table: for its summary, and for the book's page on sweeps."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas
import seaborn
from earlytime import plotting
from matplotlib.figure import Figure

MOST_TICKS = 8  # of a logarithmic axis where every value has its own


def draw(table: pandas.DataFrame, plot: Mapping[str, str]) -> Figure:
    """One plot: means over the seeds of a run as points, joined by lines; bars are the range of several runs there.

    Args:
        table: as `sweep_table.make_table` makes it.
        plot: `y`, the name of what was measured, against the parameter `x`; if given, a colour for each value of
            `hue`, a panel for each of `col` (parameters, or "case"), logarithmic axes `log` ("x", "y" or "xy"),
            and `kind`, "line" or "points".

    Returns:
        Figure. Where no run measured `y` it says so.
    """
    plotting.use_style()
    plt.rcParams["figure.constrained_layout.use"] = False  # seaborn lays out its grids itself
    rows = table[(table["name"] == plot["y"]) & (table["error"] == "")].copy()
    hue, col = plot.get("hue"), plot.get("col")
    kept = [name for name in (hue, col) if name]
    if rows.empty:
        figure = plt.figure(figsize=(6, 1))
        figure.text(0.5, 0.5, f"no run measured {plot['y']!r}", ha="center")
        return figure
    rows = rows.sort_values(kept)
    for name in dict.fromkeys(kept):
        rows[name] = [f"{name} = {value:g}" if isinstance(value, (int, float)) else str(value) for value in rows[name]]
    kind = plot.get("kind", "line")
    style = {"marker": "o", "errorbar": ("pi", 100), "err_style": "bars"} if kind == "line" else {}
    if hue:
        colours = [plotting.PALETTE[i % len(plotting.PALETTE)] for i in range(rows[hue].nunique())]
        style |= {"hue": hue, "palette": colours}
    grid = seaborn.relplot(
        rows,
        x=plot["x"],
        y="mean",
        col=col,
        kind={"line": "line", "points": "scatter"}[kind],
        height=3.8,
        aspect=1.1 if col else 1.5,
        col_wrap=min(3, rows[col].nunique() or 1) if col else None,
        **style,
    )
    grid.set(**{f"{axis}scale": "log" for axis in plot.get("log", "")}, xlabel=plot["x"], ylabel=plot["y"])
    values = rows[plot["x"]].unique()
    for axes in grid.axes.flat:
        if "x" in plot.get("log", "") and len(values) <= MOST_TICKS:
            plotting.plain_ticks(axes.xaxis, values)
        axes.yaxis.set_tick_params(which="both", labelleft=axes.get_subplotspec().is_first_col())
    grid.set_titles("{col_name}")
    if grid.legend:
        grid.legend.set_title("")
    if plot.get("title"):
        grid.figure.suptitle(plot["title"], y=1.03)
    return grid.figure
