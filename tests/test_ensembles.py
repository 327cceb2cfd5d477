"""An ensemble is one compiled program whose memory is bounded by how many networks run side by side."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import jax
import jax.numpy as jnp
import earlytime as et

data = et.load_images("digits", preprocessing="norm")
x, y = jnp.asarray(data.x_train[:128], "float32"), jnp.asarray(data.y_train[:128], "float32")
network = et.fully_connected(64, 512, "erf", depth=2)

def run(key, x, y):
    trained = et.train(
        network.apply, network.init(key), x, y, x_test=x[:32], learning_rate=0.5, num_steps=10, record_steps=(0, 10)
    )
    return trained.train_loss, trained.test_outputs

loss, outputs = et.over_seeds(run, 0, 100, x, y, batch_size=10)
assert outputs.shape == (100, 2, 32) and bool(jnp.all(loss[:, 1] < loss[:, 0]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_hundred_networks_of_width_512_stay_under_four_gigabytes():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4.0
