"""Sphinx extension: `{sweep} kernel_gap` shows the plots of a sweep of `sweeps/`, of the table that is kept beside it.

The tables are committed, since a sweep takes minutes: `sweeps/NAME.csv` is what `make sweep SWEEP=sweeps/NAME.yaml`
wrote. One that is not of the points that its file asks for is a warning, and so is one with a run that failed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sweep import load_sweep

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger(__name__)


def faults(file: Path, table: "pandas.DataFrame") -> Iterator[str]:
    """What a kept table has that it should not have."""
    if set(table["point"]) != {point.name for point in load_sweep(file).points}:
        yield f"{file.with_suffix('.csv')} is not of the points of {file}: run the sweep again"
    if table["error"].notna().any():
        yield f"{file.with_suffix('.csv')} has runs that failed"


def run_text(file: Path, table: "pandas.DataFrame") -> str:
    """When and on what it ran."""
    runs = table.drop_duplicates("point")
    minutes = runs["seconds"].sum() / 60
    revisions = ", ".join(sorted({f"`{name[:10]}`" for name in runs["revision"].dropna()})) or "an unknown revision"
    return (
        f"{len(runs)} runs of {minutes:.0f} minutes in all, {runs['started'].min()[:10]}, at {revisions}, on "
        f"{', '.join(sorted(set(runs['device'])))}. `make sweep SWEEP={file}` runs them again."
    )


def alt_text(plot: dict[str, str]) -> str:
    """What a plot shows, in words."""
    axes = {"x": "a logarithmic horizontal axis", "y": "a logarithmic vertical axis", "xy": "logarithmic axes"}
    parts = [f"{plot['y']} against {plot['x']}"]
    parts += [f"on {axes[plot['log']]}"] if "log" in plot else []
    parts += [f"a colour for each {plot['hue']}"] if "hue" in plot else []
    parts += [f"a panel for each {plot['col']}"] if "col" in plot else []
    return f"{', '.join(parts)}."


class SweepDirective(SphinxDirective):
    """Its content is text below the figures."""

    required_arguments = 1
    has_content = True

    def run(self):
        import matplotlib
        import pandas

        matplotlib.use("agg")
        from sweep_plots import draw

        file = Path("sweeps", f"{self.arguments[0]}.yaml")
        table = pandas.read_csv(file.with_suffix(".csv"))
        for fault in faults(file, table):
            logger.warning("%s", fault, location=(self.env.docname, self.lineno))
        folder = Path(self.env.doctreedir, "sweeps")
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, plot in enumerate(load_sweep(file).plots):
            place = folder / f"{file.stem}-{number}.svg"
            figure = draw(table.assign(error=table["error"].fillna("")), plot)
            figure.savefig(place, bbox_inches="tight", metadata={"Date": None})
            matplotlib.pyplot.close(figure)
            at = os.path.relpath(place, Path(self.env.doc2path(self.env.docname)).parent)
            lines += [f"```{{image}} {at}", f":alt: {alt_text(plot)}", "```", ""]
        lines += [*self.content, "", run_text(file, table)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=False)


def setup(app):
    app.add_directive("sweep", SweepDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
