r"""A recorded run of gradient descent, and what can be asked of it."""

from typing import Any, NamedTuple

import jax
import numpy as np
from earlytime._validation import check_integer
from jaxtyping import Array, Float, Int, PyTree


class TrainingState(NamedTuple):
    """What training goes on from; velocity is None without momentum."""

    params: PyTree
    step: Int[Array, ""]
    first_loss: Float[Array, ""]
    diverged_at: Int[Array, ""]
    velocity: PyTree = None


class Trajectory(NamedTuple):
    """A recorded run; the first axis of every array but `params` is the record.

    Attributes:
        steps: (r,) the recorded steps.
        train_loss: (r,) the loss over all training samples, 1/(2n) Σ (f(x_i) - y_i)² for the
            squared one; test_loss likewise (nan without test labels).
        train_outputs: (r, n) or (r, n, k); test_outputs likewise, with no samples where there are
            no test inputs.
        params: the parameters after the last step.
        observed: `observe(params)` at every recorded step, or None.
        diverged_at: the first step whose loss was not finite or 10⁶ times the first; -1: never.
        stable_learning_rate: like learning_rate, scaled to the limit 2n/λ_max of the empirical
            tangent kernel at the first step of this call; nan unless the run diverged. That is the
            limit of gradient descent on the squared loss; momentum β raises it by 1 + β.
        state: what `train(..., state=)` goes on from.
    """

    steps: Int[Array, " r"]
    train_loss: Float[Array, " r"]
    test_loss: Float[Array, " r"]
    train_outputs: Float[Array, "r n ..."]
    test_outputs: Float[Array, "r n_test ..."]
    params: PyTree
    observed: Any
    diverged_at: Int[Array, ""]
    stable_learning_rate: PyTree
    state: TrainingState


def log_spaced_steps(num_steps: int, num_records: int) -> tuple[int, ...]:
    """0, and up to num_records steps from 1 to num_steps with about equal ratios.

    Example:
        >>> log_spaced_steps(100, 5)
        (0, 1, 3, 10, 32, 100)
    """
    check_integer("num_steps", num_steps, at_least=1)
    check_integer("num_records", num_records, at_least=1)
    spaced = np.round(np.geomspace(1, num_steps, num_records)).astype(int)
    return (0, *(int(step) for step in np.unique(spaced)))


def require_finite(trajectory):
    """Return the trajectory, or raise if any of its runs diverged. Call it outside jit.

    Args:
        trajectory: from `train` (or a Comparison of it), alone or with seeds along a first axis.

    Raises:
        ValueError: naming learning_rate, the step at which the run diverged, and the stable limit
            2n/λ_max of the empirical tangent kernel that applied.
    """
    diverged_at = np.atleast_1d(np.asarray(trajectory.diverged_at))
    if np.all(diverged_at < 0):
        return trajectory
    run = int(np.argmax(diverged_at >= 0))
    rates = jax.tree.map(lambda rate: float(np.atleast_1d(np.asarray(rate))[run]), trajectory.stable_learning_rate)
    limit = f"{rates:.4g}" if isinstance(rates, float) else f"{rates}"
    raise ValueError(
        f"learning_rate: training diverged at step {diverged_at[run]}"
        + (f" of run {run}" if diverged_at.size > 1 else "")
        + f"; the stable limit 2n/lambda_max of the empirical tangent kernel is {limit}"
    )
