"""The run of a notebook: its parameters, what it runs on, and what it cost so far."""

import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jax
from earlytime._versions import revision, version_of


def device() -> str:
    """What JAX computes on, such as "cpu (x86_64, 2 cores)"."""
    return f"{jax.devices()[0].device_kind} ({platform.machine()}, {os.cpu_count()} cores)"


@functools.cache
def compiled_so_far() -> dict[str, float]:
    """What JAX compiled since the first call: seconds, programs, and how many of these it read from its cache."""
    counted = {"seconds_compiling": 0.0, "programs": 0, "from_cache": 0}

    def compiled(event: str, duration_secs: float, **_) -> None:
        if event.endswith("/backend_compile_duration"):
            counted["programs"] += 1
            counted["seconds_compiling"] += duration_secs

    def read(event: str, **_) -> None:
        counted["from_cache"] += event.endswith("/compilation_cache/cache_hits")

    jax.monitoring.register_event_duration_secs_listener(compiled)
    jax.monitoring.register_event_listener(read)
    return counted


def _peak_memory() -> dict[str, int | None]:
    """Bytes, the most that the process ever had: of the machine's memory, and of the GPU's."""
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    try:
        import resource
    except ImportError:  # Windows
        return {"host": None, "device": on_device}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"host": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "device": on_device}


@dataclass(frozen=True)
class Run:
    """One run. `notebook` and `parameters` say which; without them it is a program's that calls the module.

    Attributes:
        notebook: as it announced itself, such as "hu2020/figure_1".
        parameters: by name, with the seed; as JSON holds them.
        recorded: by file, what this process recorded of it.
    """

    notebook: str | None = None
    parameters: Mapping[str, Any] | None = None
    recorded: dict[str, dict] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    _clock: float = field(default_factory=time.monotonic)
    _before: Mapping[str, float] = field(default_factory=lambda: dict(compiled_so_far()))

    def facts(self) -> dict[str, Any]:
        """All that is to be known of it, with what it cost so far."""
        commit, dirty = revision()
        compiled = {name: count - self._before[name] for name, count in compiled_so_far().items()}
        return {
            "notebook": self.notebook,
            "parameters": self.parameters,
            "versions": {
                "python": platform.python_version(),
                **{package: version_of(package) for package in ("earlytime", "jax", "numpy")},
            },
            "device": device(),
            "revision": commit,
            "dirty": dirty,
            "started": self.started,
            "seconds": round(time.monotonic() - self._clock, 3),
            **compiled,
            "seconds_compiling": round(compiled["seconds_compiling"], 3),
            "peak_memory": _peak_memory(),
        }

    def cost(self) -> str:
        """The same in a line for a reader."""
        facts = self.facts()
        seed = (self.parameters or {}).get("seed")
        words = [] if seed is None else [f"seed {seed}"]
        if facts["revision"]:
            words.append(f"revision {facts['revision'][:10]}{' with changes' if facts['dirty'] else ''}")
        words.append(f"{facts['seconds']:.0f} s, {facts['seconds_compiling']:.0f} s of them compiling")
        memory = facts["peak_memory"]
        words += [f"{memory[name] / 1e9:.1f} GB of {name} memory" for name in ("host", "device") if memory[name]]
        return ", ".join(words)


_announced: str | None = None
_current = Run()
_after_each_cell: list[Callable[[], None]] = []


def current() -> Run:
    """The run that this process is in."""
    return _current


def announced(notebook: str) -> None:
    """The run that begins next is this notebook's."""
    global _announced
    _announced = notebook
    compiled_so_far()


def begin(parameters: Mapping[str, Any]) -> None:
    """A run begins, with these parameters."""
    global _current
    _current = Run(_announced, json.loads(json.dumps(parameters)))


def after_each_cell(tell: Callable[[], None]) -> None:
    """In a notebook, call `tell` after each cell from now on; it takes the place of one of the same name."""
    shell = kernel_shell()
    if shell is None:
        return
    if not _after_each_cell:
        shell.events.register("post_run_cell", lambda *_: [each() for each in _after_each_cell])
    _after_each_cell[:] = [each for each in _after_each_cell if each.__name__ != tell.__name__] + [tell]


def kernel_shell() -> Any:
    """IPython's shell where this process is a notebook's kernel, otherwise None."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None
