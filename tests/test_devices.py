"""Several devices: eight that XLA makes of one CPU, and several processes."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest

PROGRAMS = Path(__file__).parent / "devices"


def started(*args, devices=1, errors_for_warnings=True, **kwargs):
    """A program of its own: how many devices there are is decided when JAX starts."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    python = [sys.executable, *(["-W", "error"] if errors_for_warnings else [])]
    return subprocess.Popen([*python, *map(str, args)], env=env, **pipes, **kwargs)


@pytest.mark.parametrize("how_much", ["few", pytest.param("all", marks=pytest.mark.slow)])
def test_on_eight_devices_everything_is_as_on_one_and_nothing_is_collected(how_much):
    program = started(PROGRAMS / "eight_devices.py", how_much, devices=8)
    output, _ = program.communicate(timeout=900)
    assert program.returncode == 0 and output.splitlines()[-1] == "as on one device", output


def test_on_one_device_samples_are_not_spread():
    x = et.devices.shard_samples(np.ones((3, 2)))
    assert len(x.sharding.device_set) == 1 and np.array_equal(x, np.ones((3, 2)))


@pytest.mark.parametrize("bad", [np.float32(1), {"x": np.ones(3), "y": jnp.ones(())}])
def test_what_has_no_samples_is_refused(bad):
    with pytest.raises(ValueError, match="^arrays: expected a first axis"):
        et.devices.shard_samples(bad)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("127.0.0.1", 2, 0), "coordinator: expected ADDRESS:PORT"),
        ((":80", 2, 0), "coordinator: expected ADDRESS:PORT"),
        (("127.0.0.1:80", 0, 0), "num_processes"),
        (("127.0.0.1:80", 2, 2), "process: expected at most 1"),
        (("127.0.0.1:80", 2, -1), "process: expected at least 0"),
    ],
)
def test_processes_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        et.devices.join(*arguments)
    with pytest.raises(ValueError, match="^timeout: expected at least one second, got 0"):
        et.devices.join("127.0.0.1:80", 2, 0, timeout=0)


@pytest.fixture
def page(tmp_path):
    """The programs of the page, under the names that they begin with; and its commands by name."""
    text, commands = (Path(__file__).parents[1] / "book/bigger.md").read_text(), {}
    block = r"```\{code-block\} (\w+)\n:name: (bigger-[\w-]+)\n\n(.*?)```"
    for language, name, code in re.findall(block, text, re.DOTALL):
        if language == "bash":
            commands[name] = code
        else:
            (tmp_path / code.split()[1]).write_text(code)
    return commands


def on_the_page(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


@pytest.mark.slow
def test_the_commands_of_the_page(page, tmp_path):
    eight = on_the_page(page["bigger-devices-run"], tmp_path)
    one = on_the_page("python devices.py", tmp_path)
    assert eight.startswith("8 devices: loss 0.") and one.startswith("1 devices") and eight[1:] == one[1:]
    assert on_the_page(page["bigger-chunks-run"], tmp_path).startswith("n = 20000: gap 0.03")
    command = page["bigger-processes-run"].replace("8476", str(free_port()))
    assert "2 devices, step 400" in on_the_page(command, tmp_path)
    losses = np.load(tmp_path / "losses.npy")
    (tmp_path / "losses.npy").unlink()
    on_the_page(command, tmp_path)  # which has nothing left to do
    assert np.array_equal(np.load(tmp_path / "losses.npy"), losses)
    with jax.enable_x64(False):
        task, network = et.sample_task(jax.random.key(0), 4096, 1024, 50), et.two_layer(50, 64, "erf")
        start, how = network.init(jax.random.key(1)), {"learning_rate": 1.0, "num_steps": 400}
        alone = et.train(network.apply, start, task.x, task.y, record_steps=range(0, 401, 50), **how)
    np.testing.assert_allclose(losses, alone.train_loss, rtol=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(page, tmp_path):
    def processes(folder):
        port = free_port()
        both = [
            started("big.py", f"127.0.0.1:{port}", 2, process, folder, cwd=tmp_path, errors_for_warnings=False)
            for process in (0, 1)
        ]
        return both

    def finished(both):
        outputs = [each.communicate(timeout=300)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0], outputs
        return np.load(tmp_path / "losses.npy")

    whole = finished(processes("whole"))
    (tmp_path / "losses.npy").unlink()
    for victim, checkpoint in ((1, "100"), (0, "200")):
        both = processes("killed")
        until(lambda: (tmp_path / "killed" / checkpoint).exists() or any(each.poll() is not None for each in both))
        both[victim].kill()
        at = time.monotonic()
        output, _ = both[1 - victim].communicate(timeout=120)
        both[victim].communicate()
        assert time.monotonic() - at < 10 + 20, output  # the timeout of big.py, and some seconds
        assert both[1 - victim].returncode != 0
        assert re.search("another task died|another process died", output), output
    assert np.array_equal(finished(processes("killed")), whole)


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
