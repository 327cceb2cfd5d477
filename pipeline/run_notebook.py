"""Run one notebook with papermill and publish what it produced, or nothing at all."""

import argparse
import ast
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from current import Published, changed, publish, remove, write_record
from fingerprint import file_hash, minutes_per_cell, notebook_fingerprint, source_notebooks
from job import run_job
from nbclient.exceptions import CellTimeoutError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.execute import execute_notebook

SECONDS_BETWEEN_LINES = 10  # and a minute while it is still the same cell


def _code_cells(source: Path) -> list[nbformat.NotebookNode]:
    try:
        cells = nbformat.read(source, as_version=4).cells
    except Exception as error:
        raise ValueError(f"{source}: cannot be read as a notebook: {error}") from error
    return [cell for cell in cells if cell.cell_type == "code"]


def declared_parameters(source: Path) -> dict[str, object]:
    """The names and default values in the cell tagged `parameters`.

    **Raises** `ValueError` when there is not exactly one such cell, or when it holds more than literals.
    """
    tagged = [cell.source for cell in _code_cells(source) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{source}: expected one cell tagged 'parameters', got {len(tagged)}")
    try:
        return {
            target.id: ast.literal_eval(statement.value)
            for statement in ast.parse(tagged[0]).body
            for target in statement.targets
        }
    except (AttributeError, SyntaxError, ValueError) as error:
        raise ValueError(f"{source}: expected `name = literal` lines in the parameters cell") from error


def _top_statements(source: Path) -> Iterator[ast.stmt]:
    for cell in _code_cells(source):
        try:
            yield from ast.parse(cell.source).body
        except SyntaxError:
            continue  # IPython's own, such as %pip


def _imports_rules(statement: ast.stmt) -> bool:
    names = statement.names if isinstance(statement, ast.ImportFrom) and statement.module == "earlytime" else []
    return "rules" in (name.name for name in names)


def _checks_parameters(statement: ast.stmt) -> bool:
    calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
    return any(isinstance(call, ast.Attribute) and call.attr == "check_parameters" for call in calls)


def rules_of(source: Path) -> Callable[[dict[str, object]], None]:
    """A notebook's own rules: a function that refuses parameters as its first cells would, but without a kernel.

    Executed are two of its statements: the import of the rules, and the call of `check_parameters`, where the
    names of the parameters cell have their defaults or what is given, and nothing else has a name.

    **Raises** `ValueError` for a notebook that has no such statements; what it returns raises `ValueError`, in one
    line that names the notebook and the parameter.
    """
    declared = declared_parameters(source)
    statements = list(_top_statements(source))
    code = []
    for what, found in {
        "from earlytime import rules": [each for each in statements if _imports_rules(each)],
        "et.check_parameters(globals(), ...)": [each for each in statements if _checks_parameters(each)],
    }.items():
        if len(found) != 1:
            raise ValueError(f"{source}: expected one statement `{what}`, got {len(found)}")
        code += found
    import earlytime  # takes seconds, and where nothing must run nothing is checked

    checks = compile(ast.Module(code, []), source, "exec")

    def check(parameters: dict[str, object]) -> None:
        # papermill writes a name as it is into the notebook, where one may be a whole program
        if strange := [name for name in parameters if not name.isidentifier() or name.startswith("_")]:
            raise ValueError(f"{source}: {strange[0]!r}: expected the name of a parameter")
        try:
            exec(checks, {**declared, **parameters, "results_path": "", "et": earlytime})
        except Exception as error:
            raise ValueError(f"{source}: {error}") from error
        if unknown := sorted(set(parameters) - set(declared)):
            raise ValueError(f"{source}: {unknown[0]}: this notebook has no such parameter")

    return check


def check_values(source: Path, parameters: dict[str, object]) -> None:
    """Refuse parameters by the notebook's own rules; **raises** as `rules_of` does."""
    rules_of(source)(parameters)


class Progress:
    """Prints a line now and then."""

    def __init__(self, label: str):
        self.label, self.cell, self.line_of_code, self.start = label, "starting", "", time.monotonic()
        self.done = threading.Event()

    def line(self, text: str) -> None:
        print(f"{self.label} {text} (elapsed {time.monotonic() - self.start:.0f} s)", flush=True)

    def _tell(self) -> None:
        printed, at = self.start, self.cell
        while not self.done.wait(1):
            if time.monotonic() - printed >= SECONDS_BETWEEN_LINES * (6 if at == self.cell else 1):
                printed, at = time.monotonic(), self.cell
                self.line(at)

    def __enter__(self) -> "Progress":
        threading.Thread(target=self._tell, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()


class ProgressEngine(NBClientEngine):
    """papermill's own engine, which also tells `progress` the cell it has come to."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, progress=None, **kwargs):
        code_cells = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
        cell_start = nb_man.cell_start

        def noted_cell_start(cell, cell_index=None, **kwargs):
            if cell_index in code_cells:
                progress.cell = f"cell {code_cells.index(cell_index) + 1}/{len(code_cells)}"
                progress.line_of_code = cell.source.strip().partition("\n")[0]
            cell_start(cell, cell_index, **kwargs)

        nb_man.cell_start = noted_cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


papermill_engines.register("progress", ProgressEngine)


def _hide_injected_results_path(notebook: Path) -> None:
    """Where a run changed no parameter, the cell that papermill injected says nothing to a reader."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")
    nbformat.write(content, notebook)


def run_facts(profile: str, parameters: dict[str, object], seconds: float, results: Path) -> dict[str, object]:
    """What the status page says about a run: of its results file, with the seconds that its kernel's start took."""
    run = json.loads(results.read_text())["run"]
    facts = ("seconds_compiling", "programs", "from_cache", "peak_memory", "device", "versions", "revision", "dirty")
    return {
        "profile": profile,
        "parameters": parameters,
        "seconds": round(seconds, 1),
        **{name: run[name] for name in facts},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run(name: str, *, profile: str, parameters: dict[str, object], started: float, checked: bool = False) -> None:
    """Run `notebooks/<name>.ipynb` in `_build/<profile>/work`; on success move what it made into place.

    That is the executed notebook, its results, and a record of the run: for the status page, and for the
    next build to tell whether the three are current. `started` (seconds since the epoch) is when the first
    notebook of this build was started; `checked` says that the parameters were.

    **Raises** `ValueError` for a wrong parameter, before anything runs; `RuntimeError` if a source was
    changed while it ran, or a cell took longer than the profile allows; otherwise whatever the notebook
    raised. The failed notebook, with its error cell, then stays in the work folder.
    """
    source = Path("notebooks", f"{name}.ipynb")
    fingerprint = notebook_fingerprint(name, profile, parameters)
    if not checked:
        check_values(source, parameters)
    minutes = minutes_per_cell(profile)
    work = Path("_build", profile, "work")
    made = Published(work / name / source.name, work / name / "results.json", work / name / "run.json")
    remove(work / name)
    (work / name).mkdir(parents=True)

    folders = [work / each for each in source_notebooks()]
    position = sum(folder.exists() and folder.stat().st_mtime >= started for folder in folders)
    with Progress(f"[{position}/{len(folders)}] {name}") as progress:
        progress.line("starting")
        try:
            execute_notebook(
                source,
                made.notebook,
                {**parameters, "results_path": str(made.results)},
                engine_name="progress",
                progress=progress,
                kernel_name="python3",
                language="python",
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                progress_bar=False,
                execution_timeout=60 * minutes,
            )
            if parts := changed(fingerprint, notebook_fingerprint(name, profile, parameters)):
                raise RuntimeError(f"{parts} changed while it ran; build again")
        except CellTimeoutError:
            progress.line(f"stopped; it stays in {made.notebook}")
            raise RuntimeError(
                f"{source}: {progress.cell}, which begins with {progress.line_of_code!r}, took longer than "
                f"{minutes:g} minutes, the limit of the profile {profile}"
            ) from None
        except Exception:
            progress.line(f"failed; it stays in {made.notebook}")
            raise
        facts = run_facts(profile, parameters, time.monotonic() - progress.start, made.results)
        if not parameters:
            _hide_injected_results_path(made.notebook)
        hashes = {"notebook": file_hash(made.notebook), "results": file_hash(made.results)}
        write_record(made.record, fingerprint, hashes, **facts)
        publish(made, name, profile)
        progress.line("done")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="such as hu2020/figure_1")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--parameters", type=json.loads, required=True, help="a JSON object")
    parser.add_argument("--started", type=float, required=True)
    parser.add_argument("--checked", action="store_true", help="the parameters were, which takes seconds")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    arguments = vars(parser.parse_args())
    parent = arguments.pop("parent")
    return run_job(lambda: run(**arguments), parent=parent)


if __name__ == "__main__":
    sys.exit(main())
