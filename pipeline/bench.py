"""What the module costs: one table of ratios, each measured side by side in one process, and a file for the book.

Compiling is timed apart; of everything else the median of several rounds counts, in which all candidates take turns.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np

PACKAGES = ("jax", "numpy", "neural-tangents", "torch")
STEPS = 50
ROUNDS = 5
# Figure 1 of Hu et al. 2020.
SIZES = {"n": 20_000, "d": 50, "m": 256}
SWEEPS = {"n": (2_500, 10_000, 40_000), "d": (25, 100, 400), "m": (64, 256, 1024), "seeds": (1, 4, 16)}
# To see that it works, in the tests.
QUICK_SIZES = {"n": 512, "d": 8, "m": 16}
QUICK_SWEEPS = {"n": (64, 128), "d": (4, 8), "m": (8, 16), "seeds": (1, 2)}


def there(package: str) -> bool:
    return find_spec(package.replace("-", "_")) is not None


def seconds_of(programs: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of each program, in rounds in which each has its turn; the first round is a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def compiled(f: Callable, *args) -> tuple[Callable, float, int]:
    """A program without arguments, the seconds it took to compile, and the bytes it needs besides them."""
    start = time.perf_counter()
    program = jax.jit(f).lower(*args).compile()
    took = time.perf_counter() - start
    memory = program.memory_analysis()
    return lambda: program(*args), took, memory.temp_size_in_bytes if memory else 0


def problem(n: int, d: int, m: int):
    network, key = et.two_layer(d, m, "erf"), jax.random.key(0)
    x = et.sample_inputs(key, n, d)
    return network, network.init(key), x, et.inputs.random_labels(key, n)


def trainer(n: int, d: int, m: int, steps: int):
    network, start, x, y = problem(n, d, m)

    def train(start, x, y):
        run = et.train(network.apply, start, x, y, learning_rate=0.1, num_steps=steps, record_steps=(steps,))
        return run.params

    return train, (start, x, y)


def steps_of_training(sizes: dict[str, int]) -> tuple[list[dict], list[dict]]:
    """`et.train` against its floor and the usual loops, per step; and what it takes to compile."""
    network, start, x, y = problem(**sizes)
    n = sizes["n"]
    loss = lambda p: jnp.sum((network.apply(p, x) - y) ** 2) / (2 * n)
    descend = lambda p: jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p))
    repeat = lambda step: lambda a: jax.lax.fori_loop(0, STEPS, lambda _, a: step(a), a)
    # What no training step can do without: two products, and erf and its derivative in between.
    products = lambda w: w + 1e-9 * ((w @ x.T) @ x)
    floor = lambda w: w + 1e-9 * ((lambda z: jax.scipy.special.erf(z) + jnp.exp(-z * z))(w @ x.T) @ x)
    train, args = trainer(**sizes, steps=STEPS)
    ours, took, _ = compiled(train, *args)
    one_step = jax.jit(descend)

    def usual_loop():
        p = start
        for _ in range(STEPS):
            p = one_step(p)
        return p

    programs = {
        "et.train": ours,
        "its matrix products alone": compiled(repeat(products), start.w)[0],
        "its products, erf and exp alone": compiled(repeat(floor), start.w)[0],
        "a plain fori_loop over jax.grad": compiled(repeat(descend), start)[0],
        "a loop over a jitted step": usual_loop,
    }
    if there("torch"):
        programs["PyTorch, the same loop"] = torch_loop(start, x, y)
    found = {name: value / STEPS for name, value in seconds_of(programs).items()}
    what = "a training step, n = {n:,}, d = {d}, m = {m}".format(**sizes)
    return ratios(what, found, "et.train"), [alone("compiling et.train", took)]


def alone(what: str, seconds: float, compiling: float | None = None, needed: int | None = None) -> dict:
    return {"what": what, "seconds": seconds, "compiling": compiling, "bytes": needed}


def torch_loop(start, x, y) -> Callable[[], object]:
    import torch  # type: ignore[import-not-found]  # not a package of this project

    device = "cuda" if torch.cuda.is_available() else "cpu"
    w, v, inputs, labels = (torch.tensor(np.asarray(a), device=device) for a in (*start, x, y))
    m, d = w.shape

    def loop():
        a, b = w.clone().requires_grad_(), v.clone().requires_grad_()
        for _ in range(STEPS):
            outputs = torch.erf(inputs @ a.T / d**0.5) @ b / m**0.5
            loss = ((outputs - labels) ** 2).mean() / 2
            gradients = torch.autograd.grad(loss, (a, b))
            with torch.no_grad():
                a -= 0.1 * gradients[0]
                b -= 0.1 * gradients[1]
        return float(a.sum())

    return loop


def ratios(what: str, seconds: dict[str, float], ours: str) -> list[dict]:
    return [
        {"what": what, "ours": seconds[ours], "against": name, "theirs": value, "ratio": seconds[ours] / value}
        for name, value in seconds.items()
        if name != ours
    ]


def seeds_at_once(sizes: dict[str, int], seeds: int = 20) -> list[dict]:
    train, (start, x, y) = trainer(**sizes, steps=STEPS)
    starts = jax.vmap(et.two_layer(sizes["d"], sizes["m"], "erf").init)(jax.random.split(jax.random.key(1), seeds))
    together = compiled(jax.vmap(train, (0, None, None)), starts, x, y)[0]
    one = jax.jit(train)
    by_turns = lambda: [one(jax.tree.map(lambda a: a[i], starts), x, y) for i in range(seeds)]
    found = seconds_of({"all at once": together, "one after another": by_turns})
    return ratios(f"{seeds} seeds, n = {sizes['n']:,}", found, "all at once")


def gap(n: int, d: int, m: int):
    """The largest eigenvalue of a kernel less its linear kernel, both layers; matrix-free."""
    _, start, x, _ = problem(n, d, m)
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=d, trace_sigma_squared=float(d))

    def norm(start, x):
        difference = et.two_layer_kernel(start, x, "erf", trained="both") - et.linear_kernel(features.__call__, x)
        return et.spectral_norm(difference, key=jax.random.key(2), num_matvecs=30).value

    return norm, (start, x), features.__call__


def against_neural_tangents(n: int, d: int, m: int) -> list[dict]:
    if not there("neural-tangents"):
        return []
    nt = et._neural_tangents.load()
    norm, (start, x), features = gap(n, d, m)
    apply = et.two_layer(d, m, "erf").apply
    kernel = nt.empirical_ntk_fn(lambda p, x: apply(p, x)[:, None], vmap_axes=0, trace_axes=(-1,))

    def theirs(start, x):
        difference = kernel(x, None, start).reshape(n, n) - et.linear_kernel(features, x).dense()
        operator = et.operators.Operator.from_matrix(difference)
        return et.spectral_norm(operator, key=jax.random.key(2), num_matvecs=30).value

    (mine, mine_took, _), (other, other_took, _) = compiled(norm, start, x), compiled(theirs, start, x)
    np.testing.assert_allclose(mine(), other(), rtol=1e-3)  # of the same thing
    found = seconds_of({"ours": mine, "neural-tangents' kernel matrix": other}, rounds=3)
    took = {"ours": mine_took, "neural-tangents' kernel matrix": other_took}
    what = f"kernel gap, n = {n:,}"
    with_compiling = {name: found[name] + took[name] for name in found}
    return ratios(what, found, "ours") + ratios(f"{what}, with compiling", with_compiling, "ours")


def large_gap(n: int, d: int = 50, m: int = 256) -> dict:
    norm, args, _ = gap(n, d, m)
    program, took, needed = compiled(norm, *args)
    return alone(f"kernel gap, n = {n:,}", seconds_of({"": program}, 1)[""], took, needed)


def hessian(width: int, d: int = 50) -> dict:
    network, start, x, _ = problem(1, d, width)
    norm = lambda start, x: et.hessian_norm(network.apply, start, x, key=jax.random.key(3)).value
    program, took, needed = compiled(norm, start, x[0])
    what = f"Hessian norm, {width * (d + 1):,} parameters, 40 products"
    return alone(what, seconds_of({"": program})[""], took, needed)


def importing() -> dict:
    """Seconds that `import earlytime` takes beyond `import jax`, of fresh processes that take turns."""

    def seconds(module: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import jax, jax.numpy, {module}"], check=True)
        return time.perf_counter() - start

    both = [(seconds("earlytime"), seconds("jax")) for _ in range(ROUNDS)]
    return alone("import earlytime, beyond JAX", statistics.median(ours - jax_alone for ours, jax_alone in both))


def growth(sizes: dict[str, int], against: str, values: tuple[int, ...]) -> dict:
    """Time and memory of a training run against one size, with the exponents of the power laws."""
    found = []
    for value in values:
        train, (start, x, y) = trainer(**(sizes | ({against: value} if against != "seeds" else {})), steps=10)
        if against == "seeds":
            start = jax.tree.map(lambda a: jnp.repeat(a[None], value, axis=0), start)
            train = jax.vmap(train, (0, None, None))
        program, _, memory = compiled(train, start, x, y)
        found.append((seconds_of({"": program}, 3)[""], memory))
    seconds, needed = (list(column) for column in zip(*found))
    slope = lambda column: float(np.polyfit(np.log(values), np.log(column), 1)[0])
    exponents = {"time": slope(seconds), "memory": slope(needed)}
    return {"against": against, "sizes": values, "seconds": seconds, "bytes": needed, "exponents": exponents}


def measure(quick: bool) -> dict:
    """Everything; `quick` at sizes that say nothing, for the tests."""
    sizes, sweeps = (QUICK_SIZES, QUICK_SWEEPS) if quick else (SIZES, SWEEPS)
    small = sizes | {"n": min(1000, sizes["n"])}
    table, single = steps_of_training(sizes)
    table += seeds_at_once(small)
    table += against_neural_tangents(64 if quick else 5_000, sizes["d"], sizes["m"])
    single += [large_gap(3_000 if quick else 1_000_000), hessian(32 if quick else 20_000), importing()]
    scaling = [growth(small, name, values) for name, values in sweeps.items()]
    return {
        "ratios": table,
        "single": single,
        "scaling": scaling,
        "device": f"{jax.devices()[0].device_kind} ({platform.machine()}, {os.cpu_count()} cores)",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES if there(name)}},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    arguments = parser.parse_args()
    et.use_precision("float32")
    jax.config.update("jax_enable_compilation_cache", False)  # a program that was read was not compiled
    found = measure(arguments.quick)
    for row in found["ratios"]:
        print(f"{row['what']}: {row['ratio']:.2f} x {row['against']} ({row['ours']:.3g} s, {row['theirs']:.3g} s)")
    for row in found["single"]:
        print(f"{row['what']}: {row['seconds']:.3g} s")
    for row in found["scaling"]:
        print("against {against}: time ~ ^{time:.2f}, memory ~ ^{memory:.2f}".format(**row, **row["exponents"]))
    arguments.path.parent.mkdir(parents=True, exist_ok=True)
    arguments.path.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
