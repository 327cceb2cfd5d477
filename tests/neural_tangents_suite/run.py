"""Run neural-tangents' own tests on the installed neural-tangents, as earlytime loads it.

    python tests/neural_tangents_suite/run.py CHECKOUT [--no-skip] [--cases 1] [--table FILE] [FILE ...]

CHECKOUT is a clone of neural-tangents, for its folders `tests` and `examples`. Beside what earlytime needs
it takes absl-py, more-itertools and flax. Each file runs in a process of its own. The table has what
passed, failed and was skipped; the exit status is 1 if a failure is not one of the explained ones.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
FILES = (
    "predict batching monte_carlo rules empirical stax/stax stax/combinators stax/branching "
    "stax/requirements stax/elementwise stax/linear weight_space function_space infinite_fcn "
    "elementwise elementwise_numerical empirical_ntk"
).split()

# The start of "file::test" -> why it fails, and that earlytime does not use it.
EXPLAINED = {}


def run_file(folder: Path, file: str, arguments) -> tuple[dict, list]:
    """The numbers of one file, and (test, first line of what went wrong) of each failure."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(HERE),
        # Two tolerances of Monte-Carlo tests are for the random numbers of JAX before 0.5.
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "NT_NUM_GENERATED_CASES": str(arguments.cases),
        "NEURAL_TANGENTS_NO_SKIP": "1" if arguments.no_skip else "",
    }
    command = [sys.executable, "-m", "pytest", "-p", "suite_plugin", "--quiet", f"--junitxml={report}"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, f"tests/{file}_test.py"], cwd=folder, env=environment, capture_output=True, text=True
    )
    counts = dict(passed=0, failed=0, skipped=0, seconds=round(time.monotonic() - start))
    if not report.exists():
        last = (done.stderr or done.stdout or f"exit status {done.returncode}").strip().splitlines()[-1]
        return counts | {"failed": 1}, [(file, last)]
    failures = []
    for case in ElementTree.parse(report).iter("testcase"):
        found = {child.tag: child for child in case}
        wrong = found.get("failure", found.get("error"))
        kind = "failed" if wrong is not None else "skipped" if "skipped" in found else "passed"
        counts[kind] += 1
        if wrong is not None:
            message = (wrong.get("message") or "").strip()
            failures.append((f"{file}::{case.get('name')}", message.partition("\n")[0]))
    return counts, failures


def table(rows: dict, failures: list) -> str:
    """Markdown."""
    packages = ("neural-tangents", "jax", "numpy", "scipy", "flax")
    lines = [
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        "",
        "| file | passed | failed | skipped | seconds |",
        "|---|---|---|---|---|",
    ]
    keys = ("passed", "failed", "skipped", "seconds")
    total = {key: sum(counts[key] for counts in rows.values()) for key in keys}
    for file, counts in (rows | {"all": total}).items():
        lines.append(f"| {file} | {' | '.join(map(str, counts.values()))} |")
    for test, message in failures:
        lines += ["", f"- `{test}`: {message}", f"  {cause(test) or 'NOT EXPLAINED'}"]
    return "\n".join(lines) + "\n"


def cause(test: str) -> str | None:
    """Why a test is known to fail."""
    return next((why for start, why in EXPLAINED.items() if test.startswith(start)), None)


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("files", nargs="*", default=FILES, help="such as stax/linear; all if not given")
    parser.add_argument("--no-skip", action="store_true", help="also what is skipped on a CPU for speed")
    parser.add_argument("--cases", type=int, default=1, help="how many of a test's parameter sets run")
    parser.add_argument("--table", type=Path, help="a file for the table, which is printed anyway")
    arguments = parser.parse_args()
    rows, failures = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Without the package beside them, so that the installed one is tested.
        for part in ("tests", "examples"):
            shutil.copytree(arguments.checkout / part, folder / part)
        for file in arguments.files:
            rows[file], new = run_file(folder, file, arguments)
            failures += new
            print(file, rows[file], file=sys.stderr, flush=True)
    text = table(rows, failures)
    print(text)
    if arguments.table:
        arguments.table.write_text(text)
    return any(cause(test) is None for test, _ in failures)


if __name__ == "__main__":
    sys.exit(main())
