"""A diagnosis as one HTML page."""

import html
import io
from typing import TYPE_CHECKING

from earlytime._diagnosis_report import Decision, assumptions, decisions, facts, verdict

if TYPE_CHECKING:
    from earlytime.diagnosis import Diagnosis

_STYLE = """
:root { color-scheme: light dark; --good: #00664b; --bad: #a03c00; --line: #8886; }
@media (prefers-color-scheme: dark) { :root { --good: #4fd1a5; --bad: #ff9a5c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { font-size: 1.2rem; border-left: 4px solid; padding-left: 1rem; }
.warning { color: var(--bad); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } td:last-child { white-space: nowrap; }
.yes { color: var(--good); } .no { color: var(--bad); }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  th, td { display: block; border: 0; padding: 0; } thead { display: none; }
  svg { min-width: 34rem; } figure { overflow-x: auto; }
}
@media print { body { max-width: none; font-size: 10pt; } h2, tr, figure { break-inside: avoid; } }
"""


def as_html(found: "Diagnosis", title: str) -> str:
    """The report as one page: no script, no other file, light and dark."""
    say = html.escape
    warnings = "".join(f'<p class="warning">Warning: {say(text)}</p>' for text in found.warnings)
    other = "".join(f"<dt>{say(name)}</dt><dd>{say(text)}</dd>" for name, text in facts(found))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{say(title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{say(title)}</h1>
<p class="verdict">{say(verdict(found))}</p>
{warnings}
<figure tabindex="0" aria-label="Losses, remainders and kernel over training">{as_svg(found)}</figure>
<h2>What this decides</h2>
{_table(decisions(found), "Question")}
<h2>What the papers assume of the inputs</h2>
{_table(assumptions(found), "Measure")}
<h2>Numbers</h2>
<dl>{other}</dl>
</main></body></html>
"""


def _table(rows: list[Decision], first: str) -> str:
    say, sign = html.escape, {True: ("yes", "✓ yes"), False: ("no", "✗ no"), None: ("", "–")}
    body = "".join(
        f"<tr><th scope='row'>{say(row.question)}</th><td>{say(row.number)}</td><td>{say(row.mark)}</td>"
        f"<td class='{sign[row.passed][0]}'>{sign[row.passed][1]}</td></tr>"
        for row in rows
    )
    return (
        f"<table><thead><tr><th>{first}</th><th>Measured</th><th>Mark</th><th>Met</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def as_svg(found: "Diagnosis") -> str:
    """The figure as SVG whose ink is the page's, so that it is read in the dark as well."""
    import matplotlib.pyplot as plt
    from earlytime.diagnosis_plots import INK, plot_diagnoses

    out = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "earlytime"}):
        figure = plot_diagnoses([found])
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    drawing = out.getvalue()
    return drawing[drawing.index("<svg") :].replace(INK, "currentColor")
