"""A notebook's cells in this very process: IPython's shell, without a kernel around it."""

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_output
from traitlets import Type
from traitlets.config import Config


class _Publisher(DisplayPublisher):
    """What `display` gets, as outputs of the cell; one that is updated is changed where it is."""

    shell: "Shell"

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **_):
        name = (transient or {}).get("display_id")
        output = new_output("display_data", data=data, metadata=metadata or {})
        if update and name in self.shell.displays:
            self.shell.displays[name].update(output)
            return
        self.shell.outputs.append(output)
        if name:
            self.shell.displays[name] = output


class _Hook(DisplayHook):
    """A cell's last value."""

    shell: "Shell"

    def write_output_prompt(self):
        pass

    def log_output(self, format_dict):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        output = new_output(
            "execute_result", data=format_dict, metadata=md_dict or {}, execution_count=self.prompt_count
        )
        self.shell.outputs.append(output)


class _Stream(io.TextIOBase):
    def __init__(self, shell: "Shell", name: str):
        self.shell, self.name = shell, name

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        last = self.shell.outputs[-1] if self.shell.outputs else None
        if not text:
            return 0
        if last is not None and last.get("name") == self.name:
            last.text += text
        else:
            self.shell.outputs.append(new_output("stream", name=self.name, text=text))
        return len(text)


class Shell(InteractiveShell):
    """Runs cells and keeps what they put out. It has no thread of its own, and may be forked."""

    kernel: None  # is there only where figures are drawn

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)

    def __init__(self, **kwargs):
        self.outputs: list[nbformat.NotebookNode] = []
        self.displays: dict[str, nbformat.NotebookNode] = {}
        config = Config()
        config.HistoryManager.enabled = False  # it has one
        super().__init__(config=config, **kwargs)

    def enable_gui(self, gui=None):
        """There is none; `%matplotlib inline` asks."""

    def _showtraceback(self, etype, evalue, stb):
        self.outputs.append(new_output("error", ename=etype.__name__, evalue=str(evalue), traceback=list(stb)))


def make_shell(*, figures: bool) -> Shell:
    """The shell of this process; without figures, these are made and closed, and never drawn."""
    import matplotlib

    matplotlib.use("agg")
    shell = Shell.instance()
    if figures:
        shell.kernel = None  # so that it is taken for a kernel's, where figures appear below their cells
    return shell


def run_cells(shell: Shell, notebook: nbformat.NotebookNode, tell: Callable[[str], Any]) -> str:
    """Run all cells, with their outputs put into the notebook, up to the first that fails.

    `tell` is called with a cell's name, such as "cell 3/20", before it runs. Returns the error in one line, or "".
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        tell(f"cell {number}/{len(cells)}")
        shell.outputs = cell.outputs = []
        with contextlib.redirect_stdout(_Stream(shell, "stdout")), contextlib.redirect_stderr(_Stream(shell, "stderr")):
            result = shell.run_cell(cell.source, store_history=True)
        cell.execution_count = number
        if not result.success:
            error = result.error_in_exec or result.error_before_exec
            return f"cell {number}/{len(cells)}: {one_line(error)}"
        if not hasattr(shell, "kernel") and "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
    return ""


def one_line(error: BaseException) -> str:
    """Such as "ValueError: width: expected ...", or "SystemExit" where it says nothing."""
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))[:1000]
