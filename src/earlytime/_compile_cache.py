"""What a notebook has compiled is kept for the next one, in the user's cache folder."""

import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles, unless it does already, was told not to, or the folder cannot be written.

    The environment variable EARLYTIME_COMPILE_CACHE is a folder, or "off". Without it, it is in the cache folder
    where the images are (EARLYTIME_CACHE moves that).
    """
    wanted = os.environ.get("EARLYTIME_COMPILE_CACHE", "")
    is_set = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # JAX makes its flags when it runs
    if wanted == "off" or is_set:
        return
    folder = Path(wanted or _cache_folder()).expanduser() / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _cache_folder() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a notebook without widgets for progress bars
        import pooch  # only where it is asked for: it takes a tenth of a second

    return Path(os.environ.get("EARLYTIME_CACHE") or pooch.os_cache("earlytime"), "compiled")


def _machine() -> str:
    """A name for machines of one kind: a program for another CPU may not run here, and homes are shared."""
    try:
        features = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
