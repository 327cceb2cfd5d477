r"""Gradient descent in one compiled program, with outputs recorded along the way."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Steps, Whole, single
from earlytime._blocks import fitting_block, map_blocks, sum_blocks
from earlytime._labels import Loss, as_labels, check_labels
from earlytime._networks import applied, check_independent, check_outputs, partition, slow_in_loops
from earlytime._shards import shards_of
from earlytime._stable_rates import limits_wanted, split, stable_share
from earlytime._stepwise import Row, first_state, step_by_step
from earlytime._training_checks import check_batches, check_optimizer, check_record_steps, rates_per_leaf
from earlytime._validation import check_data, check_integer, check_momentum, is_concrete
from earlytime.losses import resolve_loss
from earlytime.trajectories import TrainingState, Trajectory
from jaxtyping import Array, Int, Num, PRNGKeyArray, PyTree

_OPTIONS = ("apply_fn", "optimizer", "observe", "summarize", "loss_fn", "block_size", "batch_size")
_STATIC = (*_OPTIONS, "frozen", "spread", "part")
# A loss beyond this multiple of its first value will not come back.
_DIVERGED = 1e6


def train(
    apply_fn: Callable,
    params: PyTree,
    x: Num[AnyArray, "n ..."],
    y: Num[AnyArray, "n ..."],
    *,
    learning_rate: float | PyTree = None,
    num_steps: Whole | Int[Array, ""],
    record_steps: Steps,
    loss: Loss = "squared",
    momentum: Real = 0.0,
    optimizer: Any = None,
    batch_size: Whole | None = None,
    key: PRNGKeyArray | None = None,
    x_test: Num[AnyArray, "n_test ..."] | None = None,
    y_test: Num[AnyArray, "n_test ..."] | None = None,
    observe: Callable | None = None,
    summarize: Callable | None = None,
    state: TrainingState | None = None,
    block_size: Whole | None = None,
) -> Trajectory:
    r"""Train by gradient descent and record the run.

    $$\theta_{t+1} = \theta_t - \eta v_{t+1}, \qquad v_{t+1} = \beta v_t + \nabla L(\theta_t),$$

    $$L(\theta) = \frac1n \sum_i \ell(f(x_i; \theta), y_i)$$

    with $\ell = \frac12 \|f - y\|^2$ and $\beta = 0$ unless told otherwise. Pure: it works under jit and
    vmap and never raises once it runs; `require_finite` raises.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k); it must treat the samples independently.
        params: the pytree to start from, any. Its floating-point leaves are trained, in float32 at least; whole
            numbers, random keys, None, functions and flax.nnx's statistics ride along.
        x: (n, ...) inputs; those of `devices.shard_samples` stay spread.
        y: (n,) or (n, k) labels.
        learning_rate: η, one number or a pytree prefix of params; 0.0 freezes a layer. None with an optimizer.
        num_steps: the last step.
        record_steps: increasing steps between 0 and num_steps to record, before their update.
        loss: "squared"; "cross_entropy", for outputs (n,) with labels ±1, or outputs (n, k) with
            classes 0 … k - 1 or (n, k) probabilities; or a function (outputs, y) -> (n,) of ℓ.
        momentum: β, heavy ball; 0.0 is plain gradient descent.
        optimizer: in place of gradient descent, a transformation of optax's: anything with `init(params)` and
            `update(gradients, state, params)`. It sees params with None in the place of what is not trained.
        batch_size: samples per step, drawn without replacement in epochs of n // batch_size steps;
            None: all of them.
        key: random key of the mini-batches; needed with batch_size.
        x_test: (n_test, ...) inputs whose outputs are recorded too.
        y_test: (n_test,) or (n_test, k) their labels.
        observe: a function of the parameters, evaluated at the recorded steps.
        summarize: a function of the outputs (n, ...); what it makes of them is recorded in their place.
        state: the `.state` of a trajectory to go on from, in place of params; steps go on counting.
        block_size: samples whose hidden layer is in memory at once; None: as suits the device.

    Returns:
        Trajectory.

    Raises:
        ValueError: wrong shapes, data that are not finite, labels that do not fit the loss, a
            learning rate that is missing, negative, not finite or not a prefix of params, record steps that
            do not increase or leave [0, num_steps], a momentum outside [0, 1), a batch_size above n
            or without a key; parameters that are complex, or none; where they can be looked at, outputs that
            depend on other samples (batch normalization in training mode) or on chance (dropout).

    Example:
        >>> from earlytime import two_layer
        >>> network = two_layer(2, 4, "erf")
        >>> x, y = jnp.eye(2), jnp.array([1.0, -1.0])
        >>> run = train(network.apply, network.init(jax.random.key(0)), x, y,
        ...             learning_rate=0.1, num_steps=10, record_steps=(0, 10))
        >>> print(run.train_loss[0], bool(run.train_loss[1] < 0.5))
        0.5 True
    """
    check_data(x, y, several=True)
    if (x_test is None) and (y_test is not None):
        raise ValueError("y_test: given without x_test")
    if x_test is not None and np.shape(x_test)[1:] != np.shape(x)[1:]:
        raise ValueError(f"x_test: expected samples of shape {np.shape(x)[1:]} as in x, got {np.shape(x_test)[1:]}")
    if x_test is not None:
        if jnp.result_type(x_test) != jnp.result_type(x):
            raise ValueError(f"x_test: expected numbers of the type of x, {x.dtype}, got {x_test.dtype}")
        check_data(
            x_test,
            np.zeros(np.shape(x_test)[0]) if y_test is None else y_test,
            names=("x_test", "y_test"),
            several=True,
        )
    if block_size is not None:
        check_integer("block_size", block_size, at_least=1)
    if is_concrete((num_steps, record_steps)):  # traced, they make no other program; only their number does
        check_integer("num_steps", num_steps, at_least=0)
        check_record_steps(record_steps, num_steps, state)
        record_steps = np.asarray(record_steps, dtype=np.int32)
    check_momentum(momentum)
    check_batches(batch_size, key, np.shape(x)[0])
    check_optimizer(optimizer, learning_rate, momentum)
    trained, rest = partition(params if state is None else state.params)
    x, x_test = single(x), None if x_test is None else single(x_test)
    rates = rest.pick(rates_per_leaf(1.0 if optimizer is not None else learning_rate, params))
    outputs = check_outputs(apply_fn, trained, rest, x)
    loss_fn = resolve_loss(loss)
    check_labels(loss, outputs, y)
    if y_test is not None:
        check_labels(loss, check_outputs(apply_fn, trained, rest, x_test, on="x_test"), y_test, name="y_test")
    check_independent(apply_fn, trained, rest, *([x] if x_test is None else [x, x_test]))
    # A layer with the literal rate 0 needs no gradient at all.
    frozen = tuple(is_concrete(rate) and float(rate) == 0.0 for rate in rates)
    # Nothing is compiled for a momentum that is the literal 0.
    beta = None if is_concrete(momentum) and float(momentum) == 0.0 else momentum
    slow = slow_in_loops(apply_fn, trained, rest, x) and is_concrete((state, y, rates, num_steps, momentum, key))
    block_size = block_size or fitting_block(functools.partial(applied(apply_fn, rest), trained), x, whole=slow)
    fixed = {"apply_fn": apply_fn, "frozen": frozen, "block_size": block_size}
    shards = shards_of(x)
    # What has no value yet is NaN, which says nothing about the run.
    with jax.debug_nans(False):
        begin = first_state(trained, rest, frozen, outputs, beta, optimizer, state)
        arguments = (
            rest,
            x,
            as_labels(loss, outputs, y),
            learning_rate,
            rates,
            num_steps,
            record_steps,
            x_test,
            None if y_test is None else as_labels(loss, outputs, y_test),
            beta,
            key,
        )
        program = functools.partial(
            _train,
            optimizer=optimizer,
            observe=observe,
            summarize=summarize,
            loss_fn=loss_fn,
            batch_size=batch_size,
            spread=(shards, shards_of(x_test)),
            **fixed,
        )
        run: Any
        if slow:
            run = step_by_step(program, trained, begin, arguments, [*np.asarray(record_steps).tolist(), int(num_steps)])
        else:
            run = program(trained, begin, *arguments)
        looks = int(run.diverged_at) >= 0 if is_concrete(run.diverged_at) else limits_wanted.get()
        if looks and optimizer is None:
            share = stable_share(trained, rest, x, rates, run.diverged_at, shards=shards, **fixed)
            run = run._replace(stable_learning_rate=jax.tree.map(lambda rate: rate * share, learning_rate))
    final = rest.join(run.params)
    return run._replace(params=final, state=run.state._replace(params=final))


@functools.partial(jax.jit, static_argnames=_STATIC)
def _train(
    start,
    state,
    rest,
    x,
    y,
    learning_rate,
    rates,
    num_steps,
    record_steps,
    x_test,
    y_test,
    momentum,
    key,
    *,
    apply_fn,
    optimizer,
    observe,
    summarize,
    block_size,
    frozen,
    loss_fn,
    batch_size,
    spread,
    part="whole",
):
    """Train and record; or a single step, or a single record, as parts of a loop in Python."""
    n, (shards, test_shards) = x.shape[0], spread
    trained, moving, assemble = split(start, frozen)
    f = applied(apply_fn, rest)
    everywhere = x if x_test is None else jnp.concatenate([x, x_test])  # one forward pass to compile

    def block_loss(moving, block, weights):
        x_block, y_block = block
        losses = loss_fn(f(assemble(moving), x_block), y_block)
        return jnp.sum(weights.astype(losses.dtype) * losses) / (n if batch_size is None else batch_size)

    def loss_and_gradient(moving, step):
        gradient = jax.value_and_grad(block_loss)
        samples, weights = ((x, y), None) if batch_size is None else batch(step)
        return sum_blocks(lambda block, weights: gradient(moving, block, weights), samples, block_size, shards, weights)

    def batch(step):
        epoch, position = jnp.divmod(step, n // batch_size)
        order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
        chosen = jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
        return ((x[chosen], y[chosen]), None) if shards is None else shards.rows((x, y), chosen)

    def outputs(moving, inputs, shards=None):
        return map_blocks(lambda block: f(assemble(moving), block), inputs, block_size, shards)

    def all_outputs(moving):
        if shards is None and test_shards is None:
            return jnp.split(outputs(moving, everywhere), [n])
        of_train = outputs(moving, x, shards)  # what is spread stays where it is
        return of_train, of_train[:0] if x_test is None else outputs(moving, x_test, test_shards)

    def mark(step, loss, first_loss, diverged_at):
        first_loss = jnp.where(jnp.isnan(first_loss), loss, first_loss)
        bad = ~jnp.isfinite(loss) | (loss > _DIVERGED * first_loss)
        return first_loss, jnp.where((diverged_at < 0) & bad, step, diverged_at)

    def optimized(moving, direction, state):
        try:
            updates, state = optimizer.update(rest.alone(direction), state, rest.alone(moving))
        except TypeError as error:
            raise ValueError(f"optimizer: expected update(gradients, state, params), got {error}") from error
        return [p + jnp.asarray(u, p.dtype) for p, u in zip(moving, jax.tree.leaves(updates), strict=True)], state

    def descend(_, carry):
        moving, step, first_loss, diverged_at, velocity = carry
        loss, direction = loss_and_gradient(moving, step)
        first_loss, diverged_at = mark(step, loss, first_loss, diverged_at)
        if optimizer is not None:
            moving, velocity = optimized(moving, direction, velocity)
            return moving, step + 1, first_loss, diverged_at, velocity
        if momentum is not None:
            direction = velocity = [jnp.asarray(momentum, g.dtype) * v + g for v, g in zip(velocity, direction)]
        moving = [p - jnp.asarray(rates[i], p.dtype) * g for i, p, g in zip(trained, moving, direction)]
        return moving, step + 1, first_loss, diverged_at, velocity

    def record(carry):
        moving, step, first_loss, diverged_at, velocity = carry
        train_outputs, test_outputs = all_outputs(moving)
        train_loss = jnp.mean(loss_fn(train_outputs, y))
        first_loss, diverged_at = mark(step, train_loss, first_loss, diverged_at)
        test_loss = jnp.nan if y_test is None else jnp.mean(loss_fn(test_outputs, y_test))
        observed = None if observe is None else observe(rest.join(assemble(moving)))
        if summarize is not None:
            train_outputs, test_outputs = summarize(train_outputs), summarize(test_outputs)
        row = Row(train_loss, jnp.asarray(test_loss, train_loss.dtype), train_outputs, test_outputs, observed)
        return (moving, step, first_loss, diverged_at, velocity), row

    begin = (moving, state.step, state.first_loss, state.diverged_at, state.velocity)
    if part == "step":
        carry, rows = descend(None, begin), Row(None, None, None, None, None)
    elif part == "record":
        carry, rows = record(begin)
    else:
        # The last step is one more record, which is then dropped: one loop to compile instead of two.
        until = lambda carry, target: record(jax.lax.fori_loop(carry[1], target, descend, carry))
        targets = jnp.append(record_steps, jnp.asarray(num_steps, record_steps.dtype))
        carry, rows = jax.lax.scan(until, begin, targets)
        rows = jax.tree.map(lambda row: row[:-1], rows)
    final, step, first_loss, diverged_at, velocity = carry

    params = assemble(final)
    unknown = jax.tree.map(
        lambda rate: jnp.full_like(rate, jnp.nan, dtype=first_loss.dtype), rates[0] if optimizer else learning_rate
    )
    return Trajectory(
        steps=record_steps,
        params=params,
        diverged_at=diverged_at,
        stable_learning_rate=unknown,
        state=TrainingState(params, step, first_loss, diverged_at, velocity),
        **rows._asdict(),
    )
