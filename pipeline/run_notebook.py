"""Run one notebook with papermill and publish what it produced, or nothing at all."""

import argparse
import ast
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
from papermill.engines import NBClientEngine, papermill_engines
from papermill.execute import execute_notebook

SECONDS_BETWEEN_LINES = 10  # and a minute while it is still the same cell
DEVICE = "import jax; print(jax.devices()[0].device_kind)"


def source_notebooks() -> list[str]:
    """Names of all source notebooks, such as `hu2020/figure_1`, in the order of their paths."""
    paths = (path for path in Path("notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    return sorted(path.relative_to("notebooks").with_suffix("").as_posix() for path in paths)


def declared_parameters(source: Path) -> dict[str, object]:
    """The names and default values in the cell tagged `parameters`.

    **Raises** `ValueError` when there is not exactly one such cell, or when it holds more than literals.
    """
    cells = nbformat.read(source, as_version=4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{source}: expected one cell tagged 'parameters', got {len(tagged)}")
    try:
        return {
            target.id: ast.literal_eval(statement.value)
            for statement in ast.parse(tagged[0]).body
            for target in statement.targets
        }
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{source}: expected `name = literal` lines in the parameters cell") from error


def check_names(source: Path, parameters: dict[str, object]) -> None:
    """Refuse parameters that the notebook does not declare; papermill only warns."""
    known = declared_parameters(source)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{source}: unknown parameters {unknown}, expected some of {sorted(known)}")


class Progress:
    """Prints a line now and then, and ends this process when the one that started it is gone."""

    def __init__(self, label: str):
        self.label, self.cell, self.start, self.parent = label, "starting", time.monotonic(), os.getppid()
        self.done = threading.Event()

    def line(self, text: str) -> None:
        print(f"{self.label} {text} (elapsed {time.monotonic() - self.start:.0f} s)", flush=True)

    def _watch(self) -> None:
        printed, at = self.start, self.cell
        while not self.done.wait(1):
            if os.getppid() != self.parent:
                os._exit(1)  # an orphan must not publish later; its kernel ends itself the same way
            if time.monotonic() - printed >= SECONDS_BETWEEN_LINES * (6 if at == self.cell else 1):
                printed, at = time.monotonic(), self.cell
                self.line(at)

    def __enter__(self) -> "Progress":
        threading.Thread(target=self._watch, daemon=True).start()
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


def run_facts(profile: str, parameters: dict[str, object], seconds: float) -> dict[str, object]:
    """What the status page says about a run."""
    # In a process of its own: asking JAX here would take the accelerator away from the next kernel.
    device = subprocess.run([sys.executable, "-c", DEVICE], capture_output=True, text=True, check=True)
    return {
        "profile": profile,
        "parameters": parameters,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "jax": version("jax"), "numpy": version("numpy")},
        "device": f"{device.stdout.strip()} ({platform.machine()}, {os.cpu_count()} cores)",
    }


def run(name: str, *, profile: str, parameters: dict[str, object], started: float) -> None:
    """Run `notebooks/<name>.ipynb` in `_build/<profile>/work`; on success move what it made into place.

    That is the executed notebook, its results, and a record of the run for the status page. `started`
    (seconds since the epoch) is when the first notebook of this build was started.

    **Raises** `ValueError` for an unknown parameter, before anything runs; otherwise whatever the notebook
    raised. The failed notebook, with its error cell, then stays in the work folder.
    """
    source = Path("notebooks", f"{name}.ipynb")
    check_names(source, parameters)
    build = Path("_build", profile)
    work = build / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    notebook, results, record = work / source.name, work / "results.json", work / "run.json"
    results.write_text('{"claims": {}}\n')  # for a notebook that records nothing

    folders = [build / "work" / each for each in source_notebooks()]
    position = sum(folder.exists() and folder.stat().st_mtime >= started for folder in folders)
    with Progress(f"[{position}/{len(source_notebooks())}] {name}") as progress:
        progress.line("starting")
        try:
            execute_notebook(
                source,
                notebook,
                {**parameters, "results_path": str(results)},
                engine_name="progress",
                progress=progress,
                kernel_name="python3",
                language="python",
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                progress_bar=False,
            )
        except Exception:
            progress.line(f"failed; it stays in {notebook}")
            raise
        facts = run_facts(profile, parameters, time.monotonic() - progress.start)
        record.write_text(json.dumps(facts, indent=1) + "\n")
        if not parameters:
            _hide_injected_results_path(notebook)
        for made, place in (
            (results, build / "results" / f"{name}.json"),
            (record, build / "results" / f"{name}.run.json"),
            (notebook, build / "stage" / source),
        ):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made, place)
        progress.line("done")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="such as hu2020/figure_1")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--parameters", type=json.loads, required=True, help="a JSON object")
    parser.add_argument("--started", type=float, required=True)
    try:
        run(**vars(parser.parse_args()))
    except (Exception, KeyboardInterrupt) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
