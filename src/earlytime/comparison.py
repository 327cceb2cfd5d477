r"""Network against linear model, step by step."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole
from earlytime._validation import check_choice
from earlytime.linear_models import LinearModel
from earlytime.trajectories import Trajectory
from jaxtyping import Array, Float, Int, PyTree


class Comparison(NamedTuple):
    """Losses and discrepancies at the recorded steps (first axis).

    Attributes:
        steps: (r,).
        network_train_loss: (r,) of the loss that the network was trained with.
        linear_train_loss, network_test_loss, linear_test_loss: (r,) 1/(2n) Σ (f - y)².
        linear_limit_loss: the training loss of the linear model after infinitely many steps.
        train_discrepancy: (r,) 1/n Σ (f - f^lin)² on the training set.
        test_discrepancy: (r,) the same on the test set.
        population_discrepancy: (r,) 1/n Σ min{(f - f^lin)², 1} on the test set (Theorem 3.2).
        linear_test_power: (r,) 1/n Σ (f^lin)² on the test set.
        diverged_at, stable_learning_rate: of the network's run, for `require_finite`.
    """

    steps: Int[Array, " r"]
    network_train_loss: Float[Array, " r"]
    linear_train_loss: Float[Array, " r"]
    network_test_loss: Float[Array, " r"]
    linear_test_loss: Float[Array, " r"]
    linear_limit_loss: Float[Array, ""]
    train_discrepancy: Float[Array, " r"]
    test_discrepancy: Float[Array, " r"]
    population_discrepancy: Float[Array, " r"]
    linear_test_power: Float[Array, " r"]
    diverged_at: Int[Array, ""]
    stable_learning_rate: PyTree

    def largest_gap(self, inputs: str, *, until: Whole) -> Float[np.ndarray, "..."]:
        """The largest discrepancy at any recorded step up to one, of every run along the leading axes.

        Args:
            inputs: "train", "test" or "population": which discrepancy.
            until: the last step that counts.

        Returns:
            (...), such as (num_seeds,) of what `over_seeds` returned.

        Raises:
            ValueError: no such discrepancy, or no step that was recorded up to `until`.
        """
        check_choice("inputs", inputs, ("train", "test", "population"))
        counts = np.asarray(self.steps) <= until
        if not counts.any(axis=-1).all():
            raise ValueError(f"until: expected at least the first recorded step, got {until}")
        gap = np.asarray(getattr(self, f"{inputs}_discrepancy"))
        return np.asarray(np.where(counts, gap, 0.0).max(axis=-1))


def compare(
    trajectory: Trajectory,
    model: LinearModel,
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "n ..."],
    x_test: Float[AnyArray, "n_test d"],
    y_test: Float[AnyArray, "n_test ..."],
) -> Comparison:
    """Compare a trained network with its linear model at the recorded steps.

    With k outputs, the square of a difference is that of a vector: the sum over the outputs.

    Args:
        trajectory: from `train` on (x, y), with x_test recorded.
        model: from `linear_model` on (x, y), with the same learning rate, and with the network's `start` if that
            is not 0.
        x, y: training inputs (n, d) and labels (n,) or (n, k).
        x_test, y_test: test inputs (n_test, d) and labels (n_test,) or (n_test, k).

    Returns:
        Comparison.

    Raises:
        ValueError: the trajectory has no outputs on x_test, or of another shape than the labels.
    """
    if getattr(trajectory.train_outputs, "shape", ())[1:] != np.shape(y):
        raise ValueError(f"trajectory: expected outputs of the shape of y, {np.shape(y)}, and no summary of them")
    if trajectory.test_outputs.shape[1:] != np.shape(y_test):
        raise ValueError(
            f"trajectory: expected outputs on the {x_test.shape[0]} samples of x_test, "
            f"got {trajectory.test_outputs.shape[1]}; pass x_test to train"
        )
    on_train, on_test = model.predict(x, trajectory.steps), model.predict(x_test, trajectory.steps)
    squares = lambda errors: errors**2 if np.ndim(y) == 1 else jnp.sum(errors**2, axis=-1)
    half_mean_square = lambda errors: jnp.mean(squares(errors), axis=-1) / 2
    gap = squares(trajectory.test_outputs - on_test)
    return Comparison(
        steps=trajectory.steps,
        network_train_loss=trajectory.train_loss,
        linear_train_loss=half_mean_square(on_train - y[None]),
        network_test_loss=half_mean_square(trajectory.test_outputs - y_test[None]),
        linear_test_loss=half_mean_square(on_test - y_test[None]),
        linear_limit_loss=half_mean_square(model.predict_limit(x) - y),
        train_discrepancy=jnp.mean(squares(trajectory.train_outputs - on_train), axis=1),
        test_discrepancy=jnp.mean(gap, axis=1),
        population_discrepancy=jnp.mean(jnp.minimum(gap, 1.0), axis=1),
        linear_test_power=jnp.mean(squares(on_test), axis=1),
        diverged_at=trajectory.diverged_at,
        stable_learning_rate=trajectory.stable_learning_rate,
    )
