"""An ensemble is one compiled program, whose memory is bounded by how many networks run side by side."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import jax
import jax.numpy as jnp
import earlytime as et

x = jax.random.normal(jax.random.key(1), (128, 192), "float32")
y = jnp.sign(x[:, 0])
network = et.fully_connected(192, 512, "erf", depth=2)
traces = []

def run(key, x, y):
    traces.append(key)
    trained = et.train(
        network.apply, network.init(key), x, y, x_test=x[:32], learning_rate=0.5, num_steps=10, record_steps=(0, 10)
    )
    return trained.train_loss, trained.test_outputs

loss, outputs = et.over_seeds(run, 0, 100, x, y, batch_size={batch_size})
assert len(traces) == 1, len(traces)
assert outputs.shape == (100, 2, 32) and bool(jnp.all(loss[:, 1] < loss[:, 0]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 10])
def test_a_hundred_networks_of_width_512_are_one_program_under_four_gigabytes(batch_size):
    program = PROGRAM.replace("{batch_size}", str(batch_size))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4.0
