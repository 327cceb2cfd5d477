"""What a notebook has compiled is kept for the next one, in the user's cache folder."""

import contextlib
import glob
import hashlib
import os
import platform
import re
import warnings
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles, unless it does already, was told not to, or the folder cannot be written.

    The environment variable EARLYTIME_COMPILE_CACHE is a folder, or "off". Without it, it is in the cache folder
    where the images are (EARLYTIME_CACHE moves that). In either case what cannot be read there is compiled anew.
    """
    _replace_what_cannot_be_read()
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


_UNREADABLE = "Error reading persistent compilation cache entry for '(.+?)'"  # JAX says it with the program's name


def _replace_what_cannot_be_read() -> None:
    """Remove the entries of a program that JAX warns it cannot read, instead of the warning.

    JAX writes an entry in place: a run that is killed meanwhile leaves it cut short, and another one that reads
    meanwhile finds it so. JAX then compiles, but never writes over a file that is there.
    """
    if getattr(warnings.showwarning, "replaces_entries", False):
        return
    show = warnings.showwarning

    def remove_or_show(message, *where, **how):
        said = re.match(_UNREADABLE, str(message))
        folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        if not said or not folder:
            return show(message, *where, **how)
        with contextlib.suppress(OSError):  # a folder that only others write
            for entry in Path(folder).glob(f"{glob.escape(said[1])}-*-cache"):
                entry.unlink(missing_ok=True)

    remove_or_show.replaces_entries = True  # type: ignore[attr-defined]
    warnings.showwarning = remove_or_show
    warnings.filterwarnings("always", _UNREADABLE)


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
