r"""A recorded run of gradient descent, and what can be asked of it."""

from typing import Any, NamedTuple

import jax
import numpy as np
from earlytime._arrays import Whole
from earlytime._stable_rates import is_run
from earlytime._validation import check_integer
from jaxtyping import Array, Float, Int, PyTree


class TrainingState(NamedTuple):
    """What training goes on from; velocity is None without momentum, and with an optimizer the optimizer's state."""

    params: PyTree
    step: Int[Array, ""]
    first_loss: Float[Array, ""]
    diverged_at: Int[Array, ""]
    velocity: PyTree = None


class Divergence(NamedTuple):
    """What `require_finite` needs of a run: see `Trajectory`."""

    diverged_at: Int[Array, "..."]
    stable_learning_rate: PyTree


class Trajectory(NamedTuple):
    """A recorded run; the first axis of `steps` and of what was recorded is the record.

    Attributes:
        steps: (r,) the recorded steps.
        train_loss: (r,) the loss over all training samples, 1/(2n) Σ (f(x_i) - y_i)² for the
            squared one; test_loss likewise (nan without test labels).
        train_outputs: (r, n) or (r, n, k), or what `summarize` made of them; test_outputs likewise, with no
            samples where there are no test inputs.
        params: the parameters after the last step.
        observed: `observe(params)` at every recorded step, or None.
        diverged_at: the first step whose loss was not finite or 10⁶ times the first; -1: never.
        stable_learning_rate: like learning_rate, scaled to the limit 2n/λ_max of the empirical
            tangent kernel at the first step of this call; nan unless the run diverged. That is the
            limit of gradient descent on the squared loss; momentum β raises it by 1 + β. With an optimizer,
            NaN.
        state: what `train(..., state=)` goes on from.
    """

    steps: Int[Array, " r"]
    train_loss: Float[Array, " r"]
    test_loss: Float[Array, " r"]
    train_outputs: Any
    test_outputs: Any
    params: PyTree
    observed: Any
    diverged_at: Int[Array, ""]
    stable_learning_rate: PyTree
    state: TrainingState | None

    @property
    def divergence(self) -> Divergence:
        """Whether the run diverged, for `require_finite`, where the rest of it is not kept."""
        return Divergence(self.diverged_at, self.stable_learning_rate)

    def without_params(self) -> "Trajectory":
        """The record alone: for many seeds or large networks, whose parameters would fill the memory."""
        return self._replace(params=None, state=None)


def log_spaced_steps(num_steps: Whole, num_records: Whole) -> tuple[int, ...]:
    """0, and up to num_records steps from 1 to num_steps with about equal ratios.

    Raises:
        ValueError: either number below 1.

    Example:
        >>> log_spaced_steps(100, 5)
        (0, 1, 3, 10, 32, 100)
    """
    check_integer("num_steps", num_steps, at_least=1)
    check_integer("num_records", num_records, at_least=1)
    spaced = np.round(np.geomspace(1, num_steps, num_records)).astype(int)
    return (0, *(int(step) for step in np.unique(spaced)))


def require_finite(trajectories, *, may_diverge: str = ""):
    """Return what was given, or raise if a run in it diverged. Call it outside jit.

    Args:
        trajectories: any pytree that holds runs: results of `train` or `compare`, or the `.divergence` of a
            trajectory that is not kept, alone or with further axes for seeds and cases in front.
        may_diverge: why runs may rightly diverge here; then how many did is printed, and nothing raised.

    Raises:
        ValueError: naming learning_rate, the step at which the first such run diverged, and the stable limit
            2n/λ_max of the empirical tangent kernel that applied; or a pytree without any run.

    Example:
        >>> never = Divergence(np.array([-1, -1]), np.array([np.nan, np.nan]))
        >>> require_finite({"seeds": never})["seeds"].diverged_at
        array([-1, -1])
        >>> _ = require_finite(Divergence(np.array([-1, 7]), np.array([np.nan, 0.5])), may_diverge="to see when")
        1 of 2 runs diverged, which they may: to see when
    """
    runs = [node for node in jax.tree.leaves(trajectories, is_leaf=is_run) if is_run(node)]
    if not runs:
        raise ValueError(f"trajectories: expected runs with a `diverged_at`, got {type(trajectories).__name__}")
    diverged = [np.asarray(run.diverged_at) >= 0 for run in runs]
    if may_diverge:
        found, total = sum(int(each.sum()) for each in diverged), sum(each.size for each in diverged)
        if found:
            print(f"{found} of {total} runs diverged, which they may: {may_diverge}")
        return trajectories
    for run, each in zip(runs, diverged):
        if np.any(each):
            first = np.unravel_index(np.argmax(each), each.shape)
            raise ValueError(_how_it_diverged(run, tuple(map(int, first))))
    return trajectories


def _how_it_diverged(run, index: tuple[int, ...]) -> str:
    """The error for one run of several along leading axes."""
    step = np.asarray(run.diverged_at)[index]
    limits = jax.tree.map(
        lambda rate: float(np.broadcast_to(rate, np.shape(run.diverged_at))[index]), run.stable_learning_rate
    )
    which = f" of run {', '.join(map(str, index))}" if np.size(run.diverged_at) > 1 else ""
    if isinstance(limits, float) and np.isnan(limits):
        return f"optimizer: training diverged at step {step}{which}; its steps are too long"
    limit = f"{limits:.4g}" if isinstance(limits, float) else f"{limits}"
    return (
        f"learning_rate: training diverged at step {step}{which}"
        f"; the stable limit 2n/lambda_max of the empirical tangent kernel is {limit}"
    )
