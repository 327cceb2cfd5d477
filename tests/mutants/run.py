"""Plants small errors in the numeric modules, one at a time, and sees whether the modules' tests notice.

    run.py [--every N] [--workers N] [MODULE ...]

All modules of modules.py where none is named; with --every N each N-th error only, for a look in a fraction of the
time. No error is ever written to a file: a process of its own imports it, forked from one that has imported everything
that does not use the module, and runs the tests, first the one that noticed the last error. Sources and tests are
copied at the start, so that one can go on working. What nothing notices is printed, unless README.md lists it as
harmless, and the exit status says whether 97 % of the others were noticed in every module.
"""

import argparse
import os
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from importlib.machinery import SourceFileLoader
from pathlib import Path

from errors import mutants
from modules import TESTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GOAL = 0.97


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    if unknown := set(asked.modules) - set(TESTS):
        parser.error(f"not in modules.py: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        names = asked.modules or TESTS
        shares = [examine(name, TESTS[name].split(), asked.every, asked.workers) for name in names]
    return 0 if min(shares) >= GOAL else 1


def prepare(copy: Path) -> None:
    """Copy sources and tests, and import what every mutant needs; but start no backend of JAX, whose threads do not
    fork."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    os.chdir(copy)
    sys.dont_write_bytecode = False  # whatever the environment says: else every error compiles all sources
    sys.path[:0] = [str(copy / "src"), str(copy / "tests")]
    # What does not depend on the error has been compiled before.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(copy / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    from jaxtyping import install_import_hook

    install_import_hook("earlytime", "type_checks.checked")  # as the tests' conftest.py does
    import earlytime  # noqa: F401
    import hypothesis.extra.numpy
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401

    hypothesis.settings.register_profile(
        "mutants", deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate]
    )
    warnings.filterwarnings("ignore", message="os.fork")


def examine(name: str, tests: list[str], every: int, workers: int) -> float:
    """The share of errors in a module that its tests notice; prints the others."""
    path = Path(f"src/earlytime/{name}.py")
    files = [*(f"tests/test_{test}.py" for test in tests), str(path)]  # and its examples
    source, harmless, users = path.read_text(encoding="utf-8"), read_harmless(name), users_of(name, path.parent)
    for compiled in path.parent.glob(f"__pycache__/{name}.*"):
        compiled.unlink()
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    _, seen = wait_for(dict([start_tests(path, source, files, users, [], limit=1800)]))
    if seen:
        raise SystemExit(f"{Path('output').read_text()}{name}: its tests fail without any error: {seen}")
    # Seconds of the processor: with everything compiled, a mutant needs fewer.
    limit = 30 + int(2 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start))
    killers: list[str] = []
    running: dict = {}
    possible = mutants(source)
    for before, _ in sorted(harmless - {(mutant.before, mutant.after) for mutant in possible}):
        print(f"{name}: README.md lists an error in a line that is gone: {before}", flush=True)
    planted = possible[::every]
    to_do = [mutant for mutant in planted if (mutant.before, mutant.after) not in harmless]
    unseen = []
    for mutant in [*to_do, *[None] * workers]:
        if running and (mutant is None or len(running) == workers):
            done, killer = wait_for(running)
            if killer:
                killers = [killer, *(other for other in killers if other != killer)]
            else:
                unseen.append(done)
                print(f"{name}.py:{done.line}: nothing notices\n  - {done.before}\n  + {done.after}", flush=True)
        if mutant:
            pid, (_, pipe) = start_tests(path, mutant.source, files, users, killers, limit)
            running[pid] = (mutant, pipe)
    share = 1 - len(unseen) / max(1, len(to_do))
    print(
        f"{name}: {len(to_do) - len(unseen)} of {len(to_do)} noticed, {share:.1%}; "
        f"{len(planted) - len(to_do)} are harmless",
        flush=True,
    )
    return share


def users_of(name: str, package: Path) -> set[str]:
    """The names of a module and of all that import it, directly or not."""
    pattern = re.compile(r"^\s*from earlytime(?:\.(\w+) import| import (\w+)$)", re.MULTILINE)
    imports = {
        file.stem: {a or b for a, b in pattern.findall(file.read_text(encoding="utf-8"))}
        for file in package.glob("*.py")
    }
    users, found = {name}, {name}
    while users:
        users = {user for user, used in imports.items() if used & users} - found
        found |= users
    return {f"earlytime.{user}" for user in found} | {"earlytime"}


def start_tests(path: Path, source: str, files: list[str], users: set[str], killers: list[str], limit: int):
    """Run tests of a module with another source in a new process: its number, and a pipe for the test that fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, (None, reader)
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        sys.dont_write_bytecode = True
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for module in users:
            sys.modules.pop(module, None)
        from beartype._cache.cacheclear import clear_caches

        clear_caches()  # it knows annotations by their text, and with them the old module's classes
        as_it_is = SourceFileLoader.get_data
        SourceFileLoader.get_data = lambda self, name: (  # type: ignore[method-assign]
            source.encode() if os.path.samefile(name, path) else as_it_is(self, name)
        )
        os._exit(run_tests(files, killers, writer))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # nothing of the parent's is cleaned up here


def wait_for(running: dict) -> tuple:
    """Of the first process that ends: what it was started for, and the test that failed, or what else did."""
    pid, status = os.wait()
    mutant, pipe = running.pop(pid)
    with os.fdopen(pipe) as opened:
        killer = opened.read()
    return mutant, "" if status == 0 else killer or "the collection of the tests, or the time"


def run_tests(files: list[str], killers: list[str], writer: int) -> int:
    import pytest

    options = ["-x", "-q", "-m", "not slow", "--assert=plain", "--hypothesis-profile=mutants"]
    options += ["-p", "no:cacheprovider", "-p", "no:xdist", "--doctest-modules"]
    return int(pytest.main([*options, *files], plugins=[_Order(killers, writer)]))


class _Order:
    """Sorts the tests, those that noticed the latest errors first, and reports the one that fails."""

    def __init__(self, killers: list[str], writer: int):
        self.place, self.writer = {name: i for i, name in enumerate(killers)}, writer

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.place.get(item.nodeid, len(self.place)))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            os.write(self.writer, report.nodeid.encode())


def read_harmless(name: str) -> set[tuple[str, str]]:
    """The errors that README.md lists under a module's heading, as `line` → `line with the error`."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    part = re.search(rf"^### {name}$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^- `(.*?)` → `(.*?)`", part[1], re.MULTILINE)) if part else set()


if __name__ == "__main__":
    raise SystemExit(main())
