"""A sweep of the notebook on moments, killed on the way again and again: is every run there once in the end?

.venv/bin/python tests/pipeline/sweep_kills.py --points 1000 --kills 20    # in a checkout, on a machine that is quiet
.venv/bin/python tests/pipeline/sweep_kills.py --points 1000 --kills 0     # what a run costs
.venv/bin/python tests/pipeline/sweep_kills.py --papermill 20              # the same runs, one papermill after another
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import psutil

TINY = {"num_seeds": 2, "activations": ["erf", "relu"], "dims": [8, 16], "width": 1000}
KINDS = ("group", "snakemake", "worker", "run", "terminate")


def write_sweep(file: Path, num_points: int) -> None:
    file.write_text(
        json.dumps({"notebook": "hu2020/moments", "fixed": TINY, "grid": {"seed": list(range(num_points))}})
    )


def start(file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", "pipeline/sweep.smk"]
    command += ["--config", f"sweep={file}"]
    with open(Path("_build", f"{file.stem}.log"), "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finished(file: Path) -> dict[str, bytes]:
    """The files of the points that are done."""
    return {path.name: path.read_bytes() for path in Path("_build/sweeps", file.stem, "points").glob("[!.]*.json")}


def kill(process: subprocess.Popen, kind: str) -> None:
    """End a part of a sweep, or all of it, and wait until nothing of it is left, but where one run alone is killed."""
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [each for each in below if each.is_running() and each.ppid() == process.pid]
    runs = [each for each in below if each not in workers]
    if kind == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif kind == "terminate":
        os.killpg(process.pid, signal.SIGTERM)
    elif kind == "snakemake":
        process.kill()
    elif kind == "worker" and workers:
        random.choice(workers).kill()
    elif kind == "run" and runs:
        random.choice(runs).kill()
        return
    _, left = psutil.wait_procs(below, timeout=20) if kind != "worker" else ([], [])
    assert not left, f"after a kill of {kind}: {left}"


def killed_sweep(file: Path, num_points: int, kills: int, seed: int = 0) -> dict[str, int]:
    """Run a sweep to its end, killed at so many random moments; **raises** `AssertionError` where one is not well.

    Returns how many kills there were of each kind.
    """
    random.seed(seed)
    write_sweep(file, num_points)
    done: dict[str, int] = dict.fromkeys(KINDS, 0)
    at = sorted(random.sample(range(1, num_points), kills))
    process = start(file)
    before = finished(file)
    while True:
        if process.poll() is not None:
            if process.returncode == 0:
                break
            before = check_kept(file, before)
            process = start(file)
        there = finished(file)
        if at and len(there) >= at[0] and process.poll() is None:
            del at[0]
            kind = KINDS[sum(done.values()) % len(KINDS)]
            time.sleep(random.random())
            kill(process, kind)
            done[kind] += 1
            before = check_kept(file, before)
        time.sleep(0.05)
    check_kept(file, before)
    assert not at, f"{len(at)} kills came too late"
    return done


def check_kept(file: Path, before: dict[str, bytes]) -> dict[str, bytes]:
    """What was finished is as it was: nothing is lost, and nothing ran a second time."""
    now = finished(file)
    assert all(now.get(name) == content for name, content in before.items()), "a finished run was lost, or ran again"
    for content in now.values():
        json.loads(content)
    return now


def check_table(file: Path, num_points: int) -> pandas.DataFrame:
    """Every run is there once, without an error, with the same cases, and says which seed it was."""
    table = pandas.read_parquet(Path("_build/sweeps", file.stem, "table.parquet"))
    assert (table["error"] == "").all(), set(table["error"])
    assert (
        not table.duplicated(["seed", "name", "case"]).any() and not table.duplicated(["point", "name", "case"]).any()
    )
    assert sorted(table["seed"].unique()) == list(range(num_points)) and table["point"].nunique() == num_points
    assert (table.groupby("point").size() == len(table) / num_points).all()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--papermill", type=int, help="run so many by papermill, and no sweep")
    arguments = parser.parse_args()
    clock = time.monotonic()
    if arguments.papermill:
        given = [word for name, value in TINY.items() for word in ("-y", f"{name}: {json.dumps(value)}")]
        for seed in range(arguments.papermill):
            command = [str(Path(sys.executable).with_name("papermill")), "notebooks/hu2020/moments.ipynb", os.devnull]
            subprocess.run(
                [*command, "-k", "python3", "-p", "seed", str(seed), *given], capture_output=True, check=True
            )
        print(f"papermill: {(time.monotonic() - clock) / arguments.papermill:.2f} s a run, one after the other")
        return
    file = Path("_build", f"killed_{os.getpid()}.yaml")
    file.parent.mkdir(exist_ok=True)
    done = killed_sweep(file, arguments.points, arguments.kills)
    wall = time.monotonic() - clock
    table = check_table(file, arguments.points)
    cells = [json.loads(content)["seconds_in_cells"] for content in finished(file).values()]
    mean = sum(cells) / len(cells)
    print(f"{table['point'].nunique()} runs, {len(table)} rows, kills: {done}")
    print(
        f"{wall:.0f} s on 2 cores: {2 * wall / arguments.points:.2f} s of a core for a run, {mean:.2f} s of them in its"
    )
    print(f"cells; all else, with the start, the table and the summary, is {2 * wall / arguments.points - mean:.2f} s")


if __name__ == "__main__":
    main()
