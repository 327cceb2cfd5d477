"""What a run depends on, by content: when a file was changed decides nothing."""

import hashlib
import json
import os
import platform
import re
from pathlib import Path

import pooch
import yaml

MINUTES_PER_CELL = 120  # where a profile says nothing


def source_notebooks() -> list[str]:
    """Names of all source notebooks, such as `hu2020/figure_1`, in the order of their paths."""
    paths = (path for path in Path("notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    return sorted(path.relative_to("notebooks").with_suffix("").as_posix() for path in paths)


def profile_file(profile: str) -> tuple[Path, dict[str, object]]:
    """The file of a profile, and what its name adds: `standard-seed-101` is `standard` with another seed.

    **Raises** `ValueError` for a profile that has no file.
    """
    other = re.fullmatch(r"(.+)-seed-(\d+)", profile)
    base = other[1] if other else profile
    added: dict[str, object] = {"seed": int(other[2])} if other else {}
    there = sorted(path.stem for path in Path("pipeline/profiles").glob("*.yaml"))
    if base not in there:
        raise ValueError(f"profile: expected one of {there}, got {profile!r}")
    return Path(f"pipeline/profiles/{base}.yaml"), added


def _read_profile(path: Path) -> tuple[dict[str, dict], float]:
    """Parameters by notebook, and the minutes that a cell may take.

    **Raises** `ValueError` for what is not that, in values that JSON has; and for an alias, of which a few lines make
    more values than a machine can hold.
    """
    text = path.read_text()
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("expected no aliases")
        given = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: expected a notebook and its parameters in each line, got {given!r}")
    minutes = given.pop("minutes_per_cell", MINUTES_PER_CELL)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 < minutes < float("inf"):
        raise ValueError(f"{path}: minutes_per_cell: expected a positive number, got {minutes!r}")
    for name, parameters in given.items():
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, dict) or not all(isinstance(key, str) for key in parameters):
            raise ValueError(f"{path}: {name}: expected parameters by their names, got {parameters!r}")
        try:
            json.dumps(parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name}: expected numbers, texts and lists: {error}") from None
    return given, minutes


def minutes_per_cell(profile: str) -> float:
    """How long a cell of a notebook may take before it is stopped."""
    return _read_profile(profile_file(profile)[0])[1]


def load_profile(profile: str) -> dict[str, dict[str, object]]:
    """The parameters that a profile gives to each notebook; **raises** `ValueError` where it names another."""
    path, added = profile_file(profile)
    names, (given, _) = source_notebooks(), _read_profile(path)
    if unknown := sorted(set(given) - set(names), key=str):
        raise ValueError(f"{path} names {unknown}, which are not in notebooks/")
    return {name: {**(given.get(name) or {}), **added} for name in names}


def digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_hash(folder: Path, pattern: str = "*") -> str:
    """One hash of the names and the contents of all files below, except hidden ones and Python's own."""
    names = (path.relative_to(folder) for path in folder.rglob(pattern) if path.is_file())
    kept = (name for name in names if not any(part.startswith((".", "__pycache__")) for part in name.parts))
    return digest([(name.as_posix(), file_hash(folder / name)) for name in sorted(kept)])


def _packages(profile: str) -> str:
    pins = ["requirements.txt"] + ["requirements-cuda12.txt", "requirements-cuda13.txt"] * (profile == "gpu")
    return digest(platform.python_version(), *(file_hash(Path(name)) for name in pins))


def _images() -> str:
    """Name and size of the archive of CIFAR-10 that `earlytime.cifar10` would find, without importing JAX."""
    cache = os.environ.get("EARLYTIME_CACHE") or pooch.os_cache("earlytime")
    path = Path(os.environ.get("EARLYTIME_CIFAR10") or Path(cache, "cifar-10-binary.tar.gz")).expanduser()
    return digest(path.name, path.stat().st_size) if path.is_file() else digest(None)


def _module() -> str:
    """All of the module but how long the notebooks take, which is known after they ran."""
    files = sorted(path for path in Path("src/earlytime").rglob("*") if path.suffix in (".py", ".yaml"))
    return digest([(path.as_posix(), file_hash(path)) for path in files])


def notebook_fingerprint(name: str, profile: str, parameters: dict[str, object]) -> dict[str, str]:
    """Hashes of all that a run of one notebook depends on; where two agree, so do the numbers."""
    return {
        "source": file_hash(Path("notebooks", f"{name}.ipynb")),
        "parameters": digest(profile, parameters),
        "module": _module(),
        "program that runs it": file_hash(Path("pipeline/run_notebook.py")),
        "environment": _packages(profile),
        "archive of images": _images(),
    }


def benchmarks() -> list[Path]:
    """What `make bench` measured here, and on the machines of `results/`."""
    return [
        path for path in (Path("_build/bench.json"), *sorted(Path("results").glob("*/bench.json"))) if path.exists()
    ]


def book_fingerprint(profile: str, others: dict[str, Path]) -> dict[str, str]:
    """Hashes of all that the pages show or are made with; `others` as in `current.other_results`."""
    build = Path("_build", profile)
    return {
        "text": digest(folder_hash(Path("book")), folder_hash(Path("sweeps"))),
        "configuration": digest(file_hash(Path("_config.yml")), file_hash(Path("_toc.yml"))),
        "program that builds it": folder_hash(Path("pipeline"), "*.py"),
        "profiles": folder_hash(Path("pipeline/profiles")),  # the claims say which of them reaches a size
        "module": _module(),
        "environment": _packages(profile),
        "benchmarks": digest([(str(path), file_hash(path)) for path in benchmarks()]),
        "other results": digest([(label, folder_hash(path)) for label, path in others.items()]),
        "results": digest(folder_hash(build / "results"), folder_hash(build / "stage/notebooks")),
    }
