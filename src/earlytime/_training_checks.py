"""What training refuses: rates, optimizers, batches and steps that do not fit."""

import jax
import numpy as np
from earlytime._arrays import Whole
from earlytime._validation import check_integer, check_not_negative, is_concrete
from earlytime.trajectories import TrainingState


def check_optimizer(optimizer, learning_rate, momentum) -> None:
    """Raise unless there is a learning rate or an optimizer, and not both."""
    if optimizer is None:
        if learning_rate is None:
            raise ValueError("learning_rate: expected a number or a pytree prefix of params; or give an optimizer")
        return
    if learning_rate is not None:
        raise ValueError("learning_rate: given beside an optimizer, which has its own")
    if not (is_concrete(momentum) and float(momentum) == 0.0):
        raise ValueError("momentum: given beside an optimizer, which has its own")
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise ValueError(f"optimizer: expected something with init and update, as optax's, got {optimizer!r}")


def check_batches(batch_size: Whole | None, key, num_samples: int) -> None:
    """Raise unless batches are none, or fit the samples and have a key."""
    if batch_size is None:
        return
    check_integer("batch_size", batch_size, at_least=1, at_most=num_samples)
    if key is None:
        raise ValueError("key: expected a random key, which batch_size needs")


def check_record_steps(record_steps, num_steps, state: TrainingState | None) -> None:
    """Raise unless the steps to record increase, from where training begins to its last step."""
    steps = np.asarray(record_steps)
    if steps.ndim != 1 or steps.size == 0 or not np.issubdtype(steps.dtype, np.integer):
        raise ValueError(f"record_steps: expected a sequence of whole numbers, got {record_steps!r}")
    if np.any(np.diff(steps) <= 0):
        raise ValueError(f"record_steps: expected increasing steps, got {record_steps!r}")
    first = int(state.step) if state is not None and is_concrete(state.step) else 0
    if steps[0] < first or steps[-1] > num_steps:
        raise ValueError(
            f"record_steps: expected steps from {first} to num_steps = {num_steps}, got {steps[0]} to {steps[-1]}"
        )


def rates_per_leaf(learning_rate, params) -> list:
    """The learning rate of every leaf of params, from one number or a pytree prefix."""
    try:
        rates = jax.tree.leaves(
            jax.tree.map(lambda rate, part: jax.tree.map(lambda _: rate, part), learning_rate, params)
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"learning_rate: expected a number or a pytree prefix of params ({error})") from None
    for rate in rates:
        check_not_negative("learning_rate", rate)
    return rates
