"""A job of a sweep: run one point after the other, each in a fork of one process that has imported everything.

What takes a notebook's start its time, the imports, is done once. A fork is a process of its own that no other
run has touched: nothing that a notebook sets, breaks or leaves in memory reaches the next one.
"""

import argparse
import ast
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from current import changed, remove
from earlytime import _results_files, _versions
from job import end_with
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from sweep import Point, Sweep, load_sweep
from sweep_points import claimed, executed_notebook, folder, last_words, point_file, sweep_fingerprint, write_point
from sweep_shell import Shell, make_shell, one_line, run_cells

SECONDS_BETWEEN_LINES = 10
LOOK = 0.5  # seconds between two looks at the clock, and at whether Snakemake is still there
TRIES = 2  # of a run whose process is killed from outside


def import_modules(notebook: nbformat.NotebookNode) -> None:
    """Import what the cells import at their top, as far as it is there."""
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        try:
            statements = ast.parse(cell.source).body
        except SyntaxError:
            continue  # IPython's own, such as %pip
        for statement in statements:
            names = [each.name for each in statement.names] if isinstance(statement, ast.Import) else []
            if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                names = [statement.module] + [f"{statement.module}.{each.name}" for each in statement.names]
            for name in names:
                try:
                    importlib.import_module(name)
                except ImportError:
                    continue  # a name in a module; or the notebook says so itself


class Progress:
    """Says now and then how many points are done; of several workers the first that comes."""

    def __init__(self, sweep: Sweep, names: set[str], started: float):
        self.sweep, self.names, self.started = sweep, names, started
        self.mark = folder(sweep) / "work/said"

    def tell(self) -> None:
        if self.mark.exists() and time.time() - self.mark.stat().st_mtime < SECONDS_BETWEEN_LINES:
            return
        self.mark.touch()
        done = len(self.names & {path.stem for path in (folder(self.sweep) / "points").iterdir()})
        failed = len(self.names & {path.stem for path in (folder(self.sweep) / "failed").iterdir()})
        left, seconds = len(self.names) - done, time.time() - self.started
        about = f", about {duration(seconds / done * left)}" if done and left else ""
        print(f"{self.sweep.name}: {done} done{f' ({failed} failed)' * (failed > 0)}, {left} to go{about}", flush=True)


def duration(seconds: float) -> str:
    """Such as "40 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Worker:
    """Runs points; `parent` is the process to end with."""

    def __init__(self, sweep: Sweep, shell: Shell, source: nbformat.NotebookNode, progress: Progress, parent: int):
        self.sweep, self.shell, self.source, self.progress, self.parent = sweep, shell, source, progress, parent

    def run(self, point: Point) -> dict[str, Any]:
        """Run a point in a process of its own; returns what is published of it, but for the fingerprint."""
        work = folder(self.sweep) / "work" / point.name
        for _ in range(TRIES):
            remove(work)
            work.mkdir()
            (work / "output.txt").touch()
            started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
            said, killed, memory = self._watch(point, work, clock + self.sweep.limit)
            if not killed or time.monotonic() - clock >= self.sweep.limit:
                break
        error = said.get("error")
        if error is None:
            after = time.monotonic() - clock >= self.sweep.limit
            what = f"stopped after {self.sweep.limit:g} s, the limit of the sweep" if after else f"ended by {killed}"
            error = f"{said.get('at', 'start')}: {what}"
        results = work / "results.json"
        if error and not executed_notebook(self.sweep, point.name, failed=True).exists():
            os.replace(work / "output.txt", last_words(self.sweep, point.name))
        return {
            "notebook": self.sweep.notebook,
            "parameters": point.parameters,
            "error": error,
            "started": started,
            "seconds": round(time.monotonic() - clock, 3),
            "seconds_in_cells": said.get("seconds"),
            "peak_memory": memory,
            "results": json.loads(results.read_text()) if results.exists() and not error else None,
        }

    def _watch(self, point: Point, work: Path, until: float) -> tuple[dict[str, Any], str, int]:
        """What the process said, what killed it, and its peak memory in bytes."""
        ours, theirs = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(ours)
            self._be_the_run(point, work, theirs)
        os.close(theirs)
        said: dict[str, Any] = {}
        text, heard, ended = b"", True, False
        try:
            while not ended and time.monotonic() < until:
                if not heard:
                    time.sleep(0.005)
                elif select.select([ours], [], [], LOOK)[0]:
                    more = os.read(ours, 1 << 16)
                    text, heard = text + more, bool(more)
                ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
                self.progress.tell()
                if os.getppid() != self.parent:
                    raise RuntimeError("the sweep that started this job is gone")
            while select.select([ours], [], [], 0)[0] and (more := os.read(ours, 1 << 16)):
                text += more
        finally:
            os.close(ours)
            if not ended:
                _kill(process, os.killpg, os.kill)
            _, status, usage = os.wait4(process, 0)
            _kill(process, os.killpg)  # what it has started
        for line in text.decode().splitlines():
            said |= json.loads(line)
        code = os.waitstatus_to_exitcode(status)
        killed = signal.Signals(-code).name if code < 0 else f"exit status {code}" if "error" not in said else ""
        return said, killed, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _be_the_run(self, point: Point, work: Path, theirs: int) -> None:
        """The child's part; never returns."""
        say = lambda **facts: os.write(theirs, json.dumps(facts).encode() + b"\n")
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
            # What is printed past Python. Nobody answers a question.
            output = str(work / "output.txt")
            for stream, place in enumerate((os.devnull, output, output)):
                os.dup2(os.open(place, os.O_RDWR | os.O_APPEND), stream)
            results = work / "results.json"
            parameters = {**point.parameters, "results_path": str(results)}
            notebook = parameterize_notebook(self.source, parameters, kernel_name="python3", language="python")
            clock = time.monotonic()
            error = run_cells(self.shell, notebook, lambda at: say(at=at))
            seconds = round(time.monotonic() - clock, 3)
            if results.exists():
                _results_files.add({}, str(results))  # what it cost in the end
            if error or self.sweep.keep:
                nbformat.write(notebook, executed_notebook(self.sweep, point.name, failed=bool(error)))
            say(error=error, seconds=seconds)
        except BaseException as error:
            say(error=one_line(error))
        os._exit(0)


def _kill(process: int, *kinds: Callable[[int, int], None]) -> None:
    for kill in kinds:
        try:
            kill(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def work(file: Path, *, started: float, parent: int) -> None:
    """Run points until none is left; **raises** `RuntimeError` if a source changes meanwhile."""
    sweep = load_sweep(file)
    names, fingerprint = json.loads((folder(sweep) / "work/missing.json").read_text())
    source = load_notebook_node(f"notebooks/{sweep.notebook}.ipynb")
    import_modules(source)
    shell = make_shell(figures=sweep.keep)
    _versions.revision()  # is asked of git once
    worker = Worker(sweep, shell, source, Progress(sweep, set(names), started), parent)
    by_name = {point.name: point for point in sweep.points}
    for point in claimed(sweep, [by_name[name] for name in names if name in by_name]):
        content = worker.run(point)
        if parts := changed(fingerprint, sweep_fingerprint(sweep)):
            raise RuntimeError(f"{parts} changed while it ran; start the sweep again")
        write_point(sweep, point, {**content, "fingerprint": fingerprint})
        remove(folder(sweep) / "work" / point.name)
        if content["error"]:
            print(f"{sweep.name}: {point_file(sweep, point.name).stem} failed: {content['error']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--done", type=Path, required=True, help="the file that says that it is done")
    parser.add_argument("--started", type=float, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        work(arguments.file, started=arguments.started, parent=arguments.parent)
    except (Exception, KeyboardInterrupt) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    arguments.done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
