"""A sweep: one notebook at many parameters, read from a YAML file and checked before anything runs."""

import difflib
import itertools
import json
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from fingerprint import digest, source_notebooks
from run_notebook import declared_parameters, rules_of

MOST_POINTS = 100_000
SEEDS_APART = 1_000_000  # of two repeats; some notebooks draw from the next seed, too
KEYS = ("notebook", "fixed", "grid", "list", "sample", "repeats", "limit", "threads", "notebooks", "plots")
PLOT_KEYS = ("y", "x", "hue", "col", "log", "kind", "title")
SAMPLE_KEYS = ("low", "high", "log", "multiple_of")


class Point(NamedTuple):
    """One run of the notebook.

    Attributes:
        name: a hash of the notebook and of all parameters.
        parameters: every parameter of the notebook but results_path.
        repeat: from 0 on; repeats differ in the seed.
    """

    name: str
    parameters: dict[str, Any]
    repeat: int


class Sweep(NamedTuple):
    """What a file asks for.

    Attributes:
        name: of the file, and of the folder in `_build/sweeps`.
        file: where it was read.
        notebook: such as `hu2020/moments`.
        points: all of them, each once, in the order of the file.
        limit: seconds that one run may take.
        threads: cores for one run.
        keep: whether executed notebooks are kept; of runs that fail they always are.
        plots: for the summary, as the file has them.
    """

    name: str
    file: Path
    notebook: str
    points: list[Point]
    limit: float
    threads: int
    keep: bool
    plots: list[dict[str, str]]


def load_sweep(file: Path) -> Sweep:
    """Read a sweep, whose values are not yet checked; **raises** `ValueError`, a line with the file and the key."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*\.yaml", file.name):
        raise ValueError(f"{file}: expected a name of letters, digits, _ and -, and then .yaml")
    given = _read(file)
    refuse = _refuser(file)
    refuse("a sweep", given, KEYS)
    notebook = given.get("notebook")
    if not isinstance(notebook, str) or notebook not in source_notebooks():
        raise ValueError(f"{file}: notebook: expected one of {source_notebooks()}, got {notebook!r}")
    defaults = declared_parameters(Path("notebooks", f"{notebook}.ipynb"))
    defaults.pop("results_path", None)
    names = tuple(defaults)
    fixed = _mapping(file, "fixed", given.get("fixed", {}))
    refuse("fixed", fixed, names)
    repeats = _number(file, "repeats", given.get("repeats", 1), whole=True)
    points: dict[str, Point] = {}
    for some in _varied(file, given, names):
        for repeat in range(repeats):
            parameters = {**defaults, **fixed, **some}
            if repeat and type(parameters.get("seed")) is int:
                parameters["seed"] += repeat * SEEDS_APART
            name = digest(notebook, parameters)[:16]
            points.setdefault(name, Point(name, parameters, repeat))
            if len(points) > MOST_POINTS:
                raise ValueError(f"{file}: expected at most {MOST_POINTS} points")
    keep = given.get("notebooks", False)
    if not isinstance(keep, bool):
        raise ValueError(f"{file}: notebooks: expected yes or no, got {keep!r}")
    return Sweep(
        file.stem,
        file,
        notebook,
        list(points.values()),
        _number(file, "limit", given.get("limit", 3600)),
        _number(file, "threads", given.get("threads", 1), whole=True),
        keep,
        _plots(file, given.get("plots", []), names),
    )


def check_sweep(sweep: Sweep) -> None:
    """Put every point to the notebook's own rules; **raises** `ValueError` with a line for each value refused."""
    check = rules_of(Path("notebooks", f"{sweep.notebook}.ipynb"))
    refused: dict[str, None] = {}
    for point in sweep.points:
        try:
            check(point.parameters)
        except ValueError as error:
            refused[f"{sweep.file}: {error}"] = None
    if refused:
        more = [f"and {len(refused) - 20} more"] * (len(refused) > 20)
        raise ValueError("\n".join([*refused][:20] + more))


def _read(file: Path) -> dict:
    """The file as data: no tags of Python's, and no aliases, with which a short text can stand for a huge one."""
    try:
        text = file.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError(f"{file}: expected no aliases (*name)")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{file}: cannot be read: it is nested too deeply") from None
    for key, value in _mapping(file, "a sweep", content).items():
        _plain(file, key, value)
    return content


def _refuser(file: Path) -> Callable[[str, Mapping, tuple[str, ...]], None]:
    def refuse(what: str, given: Mapping, known: tuple[str, ...]) -> None:
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise ValueError(f"{file}: {what}: there is no {name!r}{hint}; there are {', '.join(known)}")

    return refuse


def _mapping(file: Path, key: str, value: Any) -> dict:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{file}: {key}: expected names with values, got {_short(value)}")
    return value


def _plain(file: Path, key: str, value: Any) -> None:
    """Refuse what JSON cannot hold, such as a date."""
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            _plain(file, key, each)
        return
    finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, (bool, int, float, str, type(None))) or not finite:
        raise ValueError(f"{file}: {key}: expected finite numbers, strings and lists, got {_short(value)}")


def _number(file: Path, key: str, value: Any, *, whole: bool = False) -> Any:
    good = type(value) is int or (type(value) is float and math.isfinite(value) and not whole)
    if not good or value < (1 if whole else 1e-3) or value > 1e9:
        raise ValueError(f"{file}: {key}: expected a {'whole ' * whole}positive number, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _varied(file: Path, given: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The parameters that differ, point by point: of the grid, then the list, then the sample."""
    refuse = _refuser(file)
    ways = [key for key in ("grid", "list", "sample") if key in given]
    if not ways:
        yield {}
    if "grid" in given:
        grid = _mapping(file, "grid", given["grid"])
        refuse("grid", grid, names)
        for name, values in grid.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{file}: grid: {name}: expected a list of values, got {_short(values)}")
        if math.prod(map(len, grid.values())) > MOST_POINTS:
            raise ValueError(f"{file}: grid: expected at most {MOST_POINTS} points")
        yield from (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    if "list" in given:
        if not isinstance(given["list"], list):
            raise ValueError(f"{file}: list: expected a list of points, got {_short(given['list'])}")
        for each in given["list"]:
            refuse("list", _mapping(file, "list", each), names)
            yield each
    if "sample" in given:
        yield from _sampled(file, _mapping(file, "sample", given["sample"]), names)


def _sampled(file: Path, given: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Points at random. Each is drawn by itself, so that more of them, or another parameter, change none."""
    refuse = _refuser(file)
    refuse("sample", given, ("num", "seed", "of"))
    num = _number(file, "sample: num", given.get("num"), whole=True)
    if num > MOST_POINTS:
        raise ValueError(f"{file}: sample: expected at most {MOST_POINTS} points")
    seed = given.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise ValueError(f"{file}: sample: seed: expected a whole number from 0 on, got {_short(seed)}")
    of = _mapping(file, "sample: of", given.get("of"))
    refuse("sample: of", of, names)
    draw = {name: _drawn(file, f"sample: {name}", values) for name, values in of.items()}
    for index in range(num):
        streams = {name: np.random.default_rng([seed, index, zlib.crc32(name.encode())]) for name in draw}
        yield {name: draw[name](stream) for name, stream in streams.items()}


def _drawn(file: Path, key: str, values: Any) -> Callable[[np.random.Generator], Any]:
    """How one value is drawn: of a list, or between bounds, evenly or evenly in the logarithm."""
    if isinstance(values, list) and values:
        return lambda stream: values[stream.integers(len(values))]
    if not isinstance(values, dict):
        raise ValueError(f"{file}: {key}: expected a list, or low and high, got {_short(values)}")
    _refuser(file)(key, values, SAMPLE_KEYS)
    low, high, log, step = (values.get(name) for name in SAMPLE_KEYS)  # type: Any, Any, Any, Any
    numbers = all(type(end) in (int, float) for end in (low, high))
    if not numbers or not low < high or (log and low <= 0) or not isinstance(log, (bool, type(None))):
        raise ValueError(f"{file}: {key}: expected low < high, both above 0 with log: yes, got {_short(values)}")
    whole = type(low) is int and type(high) is int
    if step is not None and (not whole or type(step) is not int or step < 1 or low % step or high % step):
        raise ValueError(f"{file}: {key}: multiple_of: expected a whole number that low and high are multiples of")

    def draw(stream: np.random.Generator) -> Any:
        at = stream.random()
        value = low * (high / low) ** at if log else low + (high - low) * at
        if not whole:
            return float(f"{value:.6g}")
        return min(max(round(value / (step or 1)) * (step or 1), low), high)

    return draw


def _plots(file: Path, given: Any, names: tuple[str, ...]) -> list[dict[str, str]]:
    if not isinstance(given, list):
        raise ValueError(f"{file}: plots: expected a list, got {_short(given)}")
    for plot in given:
        _refuser(file)("plots", _mapping(file, "plots", plot), PLOT_KEYS)
        for key, known in {
            **{key: (*names, "case") for key in ("x", "hue", "col")},
            "log": ("x", "y", "xy"),
            "kind": ("line", "points"),
        }.items():
            if plot.get(key, known[0]) not in known:
                raise ValueError(f"{file}: plots: {key}: expected one of {', '.join(known)}, got {_short(plot[key])}")
        if not isinstance(plot.get("y"), str) or "x" not in plot or not isinstance(plot.get("title", ""), str):
            raise ValueError(f"{file}: plots: expected x, and y, the name of what was measured, got {_short(plot)}")
    return given


def described(sweep: Sweep, parameters: Mapping[str, Any]) -> str:
    """The parameters of a point that differ between points."""
    first = sweep.points[0].parameters
    varied = [name for name in first if any(point.parameters[name] != first[name] for point in sweep.points)]
    return ", ".join(f"{name} = {json.dumps(parameters[name])}" for name in varied) or "the only point"


def main() -> int:
    """Say what `make sweep` would run."""
    from sweep_points import missing_points

    try:
        sweep = load_sweep(Path(sys.argv[1]))
        check_sweep(sweep)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    missing, why = missing_points(sweep, retry=sys.argv[2:] == ["--retry"])
    for point in missing[:20]:
        print(f"{point.name}: {described(sweep, point.parameters)}")
    if len(missing) > 20:
        print(f"and {len(missing) - 20} more")
    for line in why:
        print(line)
    done = len(sweep.points) - len(missing)
    print(f"{sweep.name}: {len(sweep.points)} points of {sweep.notebook}, {done} are done, {len(missing)} would run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
