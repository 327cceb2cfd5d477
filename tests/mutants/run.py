"""Plant errors in modules, one at a time, with cosmic-ray, and run the tests of each: which errors does nobody see?

    python tests/mutants/run.py losses spectral

Works in a copy of the tree, with cosmic-ray in an environment of its own; prints for every module how many errors were
caught, and the difference of each that was not.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of modules whose tests are not those of their own name.
TESTS = {
    "_decay": "tests/test_function_space.py tests/test_linear_models.py tests/test_wiring.py",
    "_solver": "tests/test_function_space.py tests/test_ill_conditioned.py",
    "_stable_rates": "tests/test_gradient_descent.py tests/test_wiring.py",
    "_stepwise": "tests/test_convolutions_in_loops.py tests/test_gradient_descent.py tests/test_wiring.py",
    "_diagnosis_paths": "tests/test_diagnosis.py",
    "_diagnosis_runs": "tests/test_diagnosis.py",
    "claims": "tests/test_claims.py tests/test_wiring.py",
    "operators": "tests/test_operators.py tests/test_wiring.py",
    "spectral": "tests/test_spectral.py tests/test_wiring.py",
}
# What makes no other result: annotations of types, which `X | Y` is, and decorators that compile.
LEFT_OUT = ["core/ReplaceBinaryOperator_BitOr_.*", "core/RemoveDecorator", "core/ExceptionReplacer"]
CONFIG = """[cosmic-ray]
module-path = "src/earlytime/{module}.py"
timeout = 600.0
excluded-modules = []
test-command = "{python} -m pytest -q -x -n 0 -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {left_out}
"""


def main(modules: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree, tools = Path(folder, "tree"), Path(folder, "tools")
        subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
        shutil.copytree(ROOT / "src", tree / "src", dirs_exist_ok=True)
        shutil.copytree(ROOT / "tests", tree / "tests", dirs_exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", tools], check=True)
        subprocess.run([tools / "bin/python", "-m", "pip", "install", "--quiet", "cosmic-ray"], check=True)
        for module in modules:
            _try(module, tree, tools / "bin")


def _try(module: str, tree: Path, tools: Path) -> None:
    """Plant every error in one module."""
    tests = TESTS.get(module, f"tests/test_{module}.py")
    # The copy's sources come before those that the environment has installed.
    python = f"env PYTHONPATH={tree / 'src'} XLA_FLAGS=--xla_backend_optimization_level=0 {sys.executable}"
    config, session = tree / "cosmic.toml", tree / f"{module}.sqlite"
    config.write_text(CONFIG.format(module=module, python=python, tests=tests, left_out=LEFT_OUT))
    run = lambda tool, *arguments: (
        subprocess.run(
            [tools / tool, *map(str, arguments)], cwd=tree, check=True, capture_output=True, text=True
        ).stdout
    )
    run("cosmic-ray", "baseline", config)
    run("cosmic-ray", "init", config, session)
    run("cr-filter-operators", session, config)
    run("cosmic-ray", "exec", config, session)
    print(f"{module}, by {tests}:", run("cr-report", "--surviving-only", "--show-diff", session), sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
