"""Training as a loop in Python, and what it shares with the one that is a program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._stable_rates import split
from earlytime.trajectories import TrainingState, Trajectory


class Row(NamedTuple):
    """What is recorded at one step."""

    train_loss: Any
    test_loss: Any
    train_outputs: Any
    test_outputs: Any
    observed: Any


def first_state(trained, rest, frozen, outputs, momentum, optimizer, state) -> TrainingState:
    """What training goes on from, without the parameters, of a run that begins and of one that goes on."""
    _, moving, _ = split(trained, frozen)
    if state is not None and (state.velocity is not None or (momentum is None and optimizer is None)):
        return state._replace(params=None)
    still = None if momentum is None else [jnp.asarray(np.zeros(leaf.shape, leaf.dtype)) for leaf in moving]
    if optimizer is not None:
        still = jax.jit(lambda leaves: optimizer.init(rest.alone(leaves)))(moving)
    if state is not None:
        return state._replace(params=None, velocity=still)
    dtype = jnp.float32 if jnp.finfo(outputs.dtype).bits < 32 else outputs.dtype
    first_loss = jnp.asarray(np.asarray(np.nan, dtype))
    return TrainingState(None, jnp.asarray(0), first_loss, jnp.asarray(-1), still)


def step_by_step(program, trained, state, arguments, targets) -> Trajectory:
    """The same run with its loops in Python, for networks that a loop of XLA's makes slow."""
    rows = []
    for target in targets:
        for _ in range(int(state.step), target):
            run = program(trained, state, *arguments, part="step")
            trained, state = run.params, run.state._replace(params=None)
        run = program(trained, state, *arguments, part="record")
        state = run.state._replace(params=None)
        rows.append(Row(*(getattr(run, name) for name in Row._fields)))
    return run._replace(**jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows[:-1])._asdict())
