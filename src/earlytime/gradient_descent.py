r"""Full-batch gradient descent in one compiled program, with outputs recorded along the way."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from earlytime._blocks import map_blocks, sum_blocks
from earlytime._validation import check_data, check_finite, check_integer, is_concrete

# A loss beyond this multiple of its first value will not come back.
_DIVERGED = 1e6
_POWER_ITERATIONS = 50


class TrainingState(NamedTuple):
    """What training goes on from."""

    params: PyTree
    step: Int[Array, ""]
    first_loss: Float[Array, ""]
    diverged_at: Int[Array, ""]


class Trajectory(NamedTuple):
    """A recorded run; the first axis of every array but `params` is the record.

    Attributes:
        steps: (r,) the recorded steps.
        train_loss: (r,) 1/(2n) Σ (f(x_i) - y_i)²; test_loss likewise (nan without test labels).
        train_outputs: (r, n); test_outputs: (r, n_test), or (r, 0) without test inputs.
        params: the parameters after the last step.
        observed: `observe(params)` at every recorded step, or None.
        diverged_at: the first step whose loss was not finite or 10⁶ times the first; -1: never.
        stable_learning_rate: like learning_rate, scaled to the limit 2n/λ_max of the empirical
            tangent kernel at the first step of this call; nan unless the run diverged.
        state: what `train(..., state=)` goes on from.
    """

    steps: Int[Array, " r"]
    train_loss: Float[Array, " r"]
    test_loss: Float[Array, " r"]
    train_outputs: Float[Array, "r n"]
    test_outputs: Float[Array, "r n_test"]
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


def train(
    apply_fn: Callable,
    params: PyTree,
    x: Float[Array, "n ..."],
    y: Float[Array, " n"],
    *,
    learning_rate: float | PyTree,
    num_steps: int,
    record_steps: Sequence[int],
    x_test: Float[Array, "n_test ..."] | None = None,
    y_test: Float[Array, " n_test"] | None = None,
    observe: Callable | None = None,
    state: TrainingState | None = None,
    block_size: int = 2048,
) -> Trajectory:
    r"""Train by full-batch gradient descent on the squared loss and record the run.

    $$\theta_{t+1} = \theta_t - \eta \nabla L(\theta_t), \qquad
      L(\theta) = \frac{1}{2n} \sum_i (f(x_i; \theta) - y_i)^2$$

    Pure: it works under jit and vmap and never raises once it runs; `require_finite` raises.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,); it must treat the samples independently.
        params: the pytree to start from.
        x: (n, ...) inputs.
        y: (n,) labels.
        learning_rate: η, one number or a pytree prefix of params; 0.0 freezes a layer.
        num_steps: the last step.
        record_steps: increasing steps between 0 and num_steps to record, before their update.
        x_test: (n_test, ...) inputs whose outputs are recorded too.
        y_test: (n_test,) their labels.
        observe: a function of the parameters, evaluated at the recorded steps.
        state: the `.state` of a trajectory to go on from, in place of params; steps go on counting.
        block_size: samples whose hidden layer is in memory at once.

    Returns:
        Trajectory.

    Raises:
        ValueError: wrong shapes, data that are not finite, a learning rate that is negative, not
            finite or not a prefix of params, record steps that do not increase or leave
            [0, num_steps].

    Example:
        >>> from earlytime import two_layer
        >>> network = two_layer(2, 4, "erf")
        >>> x, y = jnp.eye(2), jnp.array([1.0, -1.0])
        >>> run = train(network.apply, network.init(jax.random.key(0)), x, y,
        ...             learning_rate=0.1, num_steps=10, record_steps=(0, 10))
        >>> print(run.train_loss[0], bool(run.train_loss[1] < 0.5))
        0.5 True
    """
    check_data(x, y)
    if (x_test is None) and (y_test is not None):
        raise ValueError("y_test: given without x_test")
    if x_test is not None and np.shape(x_test)[1:] != np.shape(x)[1:]:
        raise ValueError(
            f"x_test: expected samples of shape {np.shape(x)[1:]} as in x, got {np.shape(x_test)[1:]}"
        )
    if x_test is not None:
        check_data(x_test, jnp.zeros(np.shape(x_test)[0]) if y_test is None else y_test,
                   names=("x_test", "y_test"))
    check_integer("num_steps", num_steps, at_least=0)
    check_integer("block_size", block_size, at_least=1)
    _check_record_steps(record_steps, num_steps, state)
    rates = _rates_per_leaf(learning_rate, params)
    outputs = jax.eval_shape(apply_fn, params, x)
    if outputs.shape != (np.shape(x)[0],):
        raise ValueError(f"apply_fn: expected outputs of shape ({np.shape(x)[0]},), got {outputs.shape}")
    # A layer with the literal rate 0 needs no gradient at all.
    frozen = tuple(is_concrete(rate) and float(rate) == 0.0 for rate in rates)
    return _train(
        apply_fn, params, jnp.asarray(x), jnp.asarray(y), learning_rate, rates, num_steps,
        jnp.asarray(record_steps, dtype=jnp.int32).reshape(-1), x_test, y_test, observe, state,
        block_size, frozen,
    )


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
    rates = jax.tree.map(
        lambda rate: float(np.atleast_1d(np.asarray(rate))[run]), trajectory.stable_learning_rate
    )
    limit = f"{rates:.4g}" if isinstance(rates, float) else f"{rates}"
    raise ValueError(
        f"learning_rate: training diverged at step {diverged_at[run]}"
        + (f" of run {run}" if diverged_at.size > 1 else "")
        + f"; the stable limit 2n/lambda_max of the empirical tangent kernel is {limit}"
    )


def _check_record_steps(record_steps, num_steps: int, state: TrainingState | None) -> None:
    steps = np.asarray(record_steps)
    if steps.ndim != 1 or steps.size == 0 or not np.issubdtype(steps.dtype, np.integer):
        raise ValueError(f"record_steps: expected a sequence of whole numbers, got {record_steps!r}")
    if np.any(np.diff(steps) <= 0):
        raise ValueError(f"record_steps: expected increasing steps, got {record_steps!r}")
    first = int(state.step) if state is not None and is_concrete(state.step) else 0
    if steps[0] < first or steps[-1] > num_steps:
        raise ValueError(
            f"record_steps: expected steps from {first} to num_steps = {num_steps}, "
            f"got {steps[0]} to {steps[-1]}"
        )


def _rates_per_leaf(learning_rate, params) -> list:
    """The learning rate of every leaf of params, from one number or a pytree prefix."""
    try:
        rates = jax.tree.leaves(
            jax.tree.map(lambda rate, part: jax.tree.map(lambda _: rate, part), learning_rate, params)
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"learning_rate: expected a number or a pytree prefix of params ({error})") from None
    for rate in rates:
        check_finite("learning_rate", rate)
        if is_concrete(rate) and float(rate) < 0:
            raise ValueError(f"learning_rate: expected at least 0, got {rate}")
    return rates


@functools.partial(jax.jit, static_argnames=("apply_fn", "observe", "block_size", "frozen"))
def _train(
    apply_fn, params, x, y, learning_rate, rates, num_steps, record_steps, x_test, y_test, observe,
    state, block_size, frozen,
):
    n = x.shape[0]
    leaves, treedef = jax.tree.flatten(params if state is None else state.params)
    trained = [i for i, still in enumerate(frozen) if not still]

    def assemble(moving, fixed):
        merged = list(fixed)
        for i, leaf in zip(trained, moving):
            merged[i] = leaf
        return jax.tree.unflatten(treedef, merged)

    def block_loss(moving, block, weights):
        x_block, y_block = block
        errors = apply_fn(assemble(moving, leaves), x_block) - y_block
        return jnp.sum(weights.astype(errors.dtype) * errors**2) / (2 * n)

    def loss_and_gradient(moving):
        gradient = jax.value_and_grad(block_loss)
        return sum_blocks(lambda block, weights: gradient(moving, block, weights), (x, y), block_size)

    def outputs(moving, inputs):
        return map_blocks(lambda block: apply_fn(assemble(moving, leaves), block), inputs, block_size)

    def mark(step, loss, first_loss, diverged_at):
        first_loss = jnp.where(jnp.isnan(first_loss), loss, first_loss)
        bad = ~jnp.isfinite(loss) | (loss > _DIVERGED * first_loss)
        return first_loss, jnp.where((diverged_at < 0) & bad, step, diverged_at)

    def descend(_, carry):
        moving, step, first_loss, diverged_at = carry
        loss, gradient = loss_and_gradient(moving)
        first_loss, diverged_at = mark(step, loss, first_loss, diverged_at)
        moving = [p - jnp.asarray(rates[i], p.dtype) * g for i, p, g in zip(trained, moving, gradient)]
        return moving, step + 1, first_loss, diverged_at

    def record(carry, target):
        moving, step, first_loss, diverged_at = jax.lax.fori_loop(carry[1], target, descend, carry)
        train_outputs = outputs(moving, x)
        train_loss = jnp.mean((train_outputs - y) ** 2) / 2
        first_loss, diverged_at = mark(step, train_loss, first_loss, diverged_at)
        test_outputs = jnp.zeros(0, x.dtype) if x_test is None else outputs(moving, x_test)
        test_loss = jnp.nan if y_test is None else jnp.mean((test_outputs - y_test) ** 2) / 2
        observed = None if observe is None else observe(assemble(moving, leaves))
        row = (train_loss, jnp.asarray(test_loss, train_loss.dtype), train_outputs, test_outputs, observed)
        return (moving, step, first_loss, diverged_at), row

    moving = [leaves[i] for i in trained]
    start = (
        (moving, jnp.asarray(0), jnp.asarray(jnp.nan, y.dtype), jnp.asarray(-1))
        if state is None
        else (moving, state.step, state.first_loss, state.diverged_at)
    )
    # The last step is one more record, which is then dropped: one loop to compile instead of two.
    carry, rows = jax.lax.scan(record, start, jnp.append(record_steps, num_steps))
    final, step, first_loss, diverged_at = carry
    rows = jax.tree.map(lambda row: row[:-1], rows)

    def kernel_product(u):
        """Σ_l η_l Θ_l u at the start, samples block by block."""
        _, pull = jax.vjp(lambda p: outputs(p, x), moving)
        scaled = [jnp.asarray(rates[i], g.dtype) * g for i, g in zip(trained, pull(u)[0])]
        return jax.jvp(lambda p: outputs(p, x), (moving,), (scaled,))[1]

    # Power iteration, in a loop of length 0 where nothing diverged: then it costs nothing.
    iterations = jnp.where(diverged_at >= 0, _POWER_ITERATIONS, 0)
    vector = jnp.cos(jnp.arange(n, dtype=y.dtype))  # no direction in particular, cheap to compile
    top, _ = jax.lax.fori_loop(
        0, iterations,
        lambda _, c: (jnp.linalg.norm(p := kernel_product(c[1])), p / jnp.linalg.norm(p)),
        (jnp.asarray(jnp.nan, y.dtype), vector / jnp.linalg.norm(vector)),
    )
    params = assemble(final, leaves)
    return Trajectory(
        record_steps, *rows[:4], params, rows[4], diverged_at,
        jax.tree.map(lambda rate: rate * 2 * n / top, learning_rate),
        TrainingState(params, step, first_loss, diverged_at),
    )
