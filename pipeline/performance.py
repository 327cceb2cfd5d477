"""Sphinx extension: `{performance}` shows what `make bench` measured, here and on the machines of `results/`."""

import json
from pathlib import Path

from fingerprint import benchmarks
from reasons import number
from results import Results, TextDirective, table

NOTHING = "Nothing was measured for this copy of the book: `make bench` does it, in some minutes."


def time_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    unit, name = next((pair for pair in ((1, "s"), (1e-3, "ms")) if seconds >= pair[0]), (1e-6, "μs"))
    return f"{number(seconds / unit)} {name}"


def memory_text(needed: int | None) -> str:
    return "" if needed is None else f"{number(needed / 1e6)} MB"


def bench_text(found: dict) -> str:
    """The three tables of one machine, under its name."""
    versions = ", ".join(f"{name} {release}" for name, release in found["versions"].items())
    header = f"## {found['device']}\n\nMeasured {found['finished'][:10]} with {versions}."
    compared = [
        [row["what"], row["against"], time_text(row["ours"]), time_text(row["theirs"]), f"**{number(row['ratio'])}**"]
        for row in found["ratios"]
    ]
    alone = [
        [row["what"], time_text(row["seconds"]), time_text(row["compiling"]), memory_text(row["bytes"])]
        for row in found["single"]
    ]
    growth = [
        [
            row["against"],
            ", ".join(f"{size:,}" for size in row["sizes"]),
            ", ".join(map(time_text, row["seconds"])),
            number(row["exponents"]["time"]),
            ", ".join(map(memory_text, row["bytes"])),
            number(row["exponents"]["memory"]),
        ]
        for row in found["scaling"]
    ]
    return "\n\n".join(
        [
            header,
            "### Side by side\n\nThe ratio is this module's time over the other's: below 1 it is the faster.",
            table(["what", "against", "this module", "the other", "ratio"], compared),
            "### Alone",
            table(["what", "time", "compiling", "memory beside its arguments"], alone),
            "### Growth\n\nTen steps of training against one size, the others fixed, and the exponents fitted to them.",
            table(["against", "sizes", "time", "exponent", "memory", "exponent"], growth),
        ]
    )


def performance_text(results: Results, source: Path) -> str:
    return "\n\n".join(bench_text(json.loads(path.read_text())) for path in benchmarks()) or NOTHING


class PerformanceDirective(TextDirective):
    make_text = performance_text


def setup(app):
    app.add_directive("performance", PerformanceDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
