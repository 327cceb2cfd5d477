"""Executed in a notebook's kernel before its first cell: what the run costs, written after every cell."""


def _watch() -> None:
    import json
    import os
    import platform
    import resource
    import sys
    from pathlib import Path

    import jax

    path, costs = Path(os.environ["EARLYTIME_RUN_COSTS"]), {"seconds_compiling": 0.0, "programs": 0, "from_cache": 0}

    def compiled(event: str, duration_secs: float, **_) -> None:
        if event.endswith("/backend_compile_duration"):
            costs["programs"] += 1
            costs["seconds_compiling"] += duration_secs

    def read(event: str, **_) -> None:
        costs["from_cache"] += event.endswith("/compilation_cache/cache_hits")

    def write(*_) -> None:
        unit = 1 if sys.platform == "darwin" else 1024
        device = jax.devices()[0]
        on_device = None if device.platform == "cpu" else device.memory_stats()["peak_bytes_in_use"]
        memory = {"host": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "device": on_device}
        text = f"{device.device_kind} ({platform.machine()}, {os.cpu_count()} cores)"
        path.write_text(json.dumps({**costs, "peak_memory": memory, "device": text}))

    jax.monitoring.register_event_duration_secs_listener(compiled)
    jax.monitoring.register_event_listener(read)
    get_ipython().events.register("post_run_cell", write)  # type: ignore[name-defined]  # a kernel's own


_watch()
del _watch
