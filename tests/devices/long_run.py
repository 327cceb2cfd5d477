"""A run of some seconds, in pieces; its record and its parameters go into run.npz in the folder."""

import sys
from pathlib import Path

import earlytime as et
import jax
import numpy as np

folder = Path(sys.argv[1])
task = et.sample_task(jax.random.key(0), 2000, 10, 20)
network = et.two_layer(20, 64, "erf")
run = et.checkpoints.train_in_pieces(
    folder,
    network.apply,
    network.init(jax.random.key(1)),
    task.x,
    task.y,
    learning_rate=1.0,
    momentum=0.5,
    batch_size=300,
    key=jax.random.key(2),
    every=50,
    num_steps=3000,
    record_steps=range(0, 3001, 150),
)
np.savez(folder / "run.npz", losses=run.train_loss, outputs=run.train_outputs, w=run.params.w, v=run.state.velocity[0])
