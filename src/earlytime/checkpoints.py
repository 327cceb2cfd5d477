r"""Training that survives its process: in pieces, each kept by orbax before the next one begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Steps, Whole
from earlytime._checkpoint_files import Checkpoints, described
from earlytime._networks import partition
from earlytime._stepwise import Row
from earlytime._training_checks import check_record_steps
from earlytime._validation import check_integer
from earlytime.gradient_descent import train
from earlytime.trajectories import TrainingState, Trajectory
from jaxtyping import Num, PyTree


def train_in_pieces(
    folder: str | Path,
    apply_fn: Callable,
    params: PyTree,
    x: Num[AnyArray, "n ..."],
    y: Num[AnyArray, "n ..."],
    *,
    every: Whole,
    num_steps: Whole,
    record_steps: Steps,
    **how: Any,
) -> Trajectory:
    r"""Train as `train` does, and keep a checkpoint every so many steps; the same call again goes on from the last one.

    Whatever ends the process, the trajectory is bit by bit the one of a run that nothing ended, on the same kind and
    number of devices with the same versions. A call whose run is complete returns it without training; one with more
    steps goes on from there. A checkpoint is complete or it is none, the last two are kept, and nothing in them is
    code. Several processes call it alike, with a folder that all of them reach.

    Args:
        folder: of this run alone; it is made.
        apply_fn, params, x, y: as in `train`.
        every: steps from a checkpoint to the next. Each costs a look at all samples and the time to write.
        num_steps, record_steps: as in `train`; numbers, not traced.
        how: every other argument of `train` but `state`.

    Returns:
        Trajectory, of the whole run. Of a run that diverged, `stable_learning_rate` is that at the beginning of the
        piece in which it did.

    Raises:
        ValueError: as `train`; every below 1; an argument that is not the one of the run that the folder holds, by its
            name: data, parameters and numbers are compared by checksums, functions by their names; a folder whose run
            is longer than num_steps.
        RuntimeError: another process died.
        ImportError: orbax is not installed; the message says how to.

    Example:
        >>> import tempfile
        >>> x, y = jnp.eye(2), jnp.ones(2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train_in_pieces(folder, lambda w, x: x @ w, jnp.zeros(2), x, y, every=5,
        ...                           num_steps=10, record_steps=(0, 10), learning_rate=0.5)
        >>> print(run.train_loss[0], run.state.step)
        0.5 10
    """
    check_integer("every", every, at_least=1)
    check_integer("num_steps", num_steps, at_least=0)
    if "state" in how:
        raise ValueError("state: comes from the folder")
    check_record_steps(record_steps, num_steps, None)
    every, num_steps = int(every), int(num_steps)
    wanted = [int(step) for step in np.asarray(record_steps)]
    trained, rest = partition(params)

    def piece(start: int, until: int, run: Trajectory | None, leaves=trained) -> Trajectory:
        """The run after the steps from start to until."""
        done = [] if run is None else np.asarray(run.steps).tolist()
        asked = [s for s in wanted if (start <= s < until or s == until == num_steps) and s not in done]
        given = how if run is None else {**how, "state": run.state}
        new = train(apply_fn, rest.join(leaves), x, y, num_steps=until, record_steps=asked or [start], **given)
        return _joined(run, new, keep=bool(asked))

    # What is kept, before there is any: this compiles nothing.
    example = jax.eval_shape(lambda leaves: _arrays_of(piece(0, 0, None, leaves)), trained)
    about = described(apply_fn, trained=trained, arrays=rest.arrays, x=x, y=y, **how)
    with Checkpoints(Path(folder), example, samples=(x, how.get("x_test")), about=about) as kept:
        found = kept.last(wanted, num_steps)
        at, run = (0, None) if found is None else (int(found["state"]["step"]), _run_of(found, rest))
        while run is None or at < num_steps:
            until = min(num_steps, (at // every + 1) * every)
            try:
                run = piece(at, until, run)
                kept.save(until, _arrays_of(run))
            except jax.errors.JaxRuntimeError as error:
                if jax.process_count() == 1:
                    raise
                raise RuntimeError(
                    f"another process died, or is out of reach: {error}\n"
                    f"Start all of them again with the same call: it goes on from step {at}"
                ) from error
            at = until
    return run


def _joined(run: Trajectory | None, new: Trajectory, *, keep: bool) -> Trajectory:
    """The record so far and that of the piece after it, unless nobody asked for it."""
    rows = _rows_of(new) if keep else jax.tree.map(lambda a: a[:0], _rows_of(new))
    if run is None:
        return new._replace(**rows)
    if int(run.diverged_at) >= 0:
        new = new._replace(stable_learning_rate=run.stable_learning_rate)
    return new._replace(**jax.tree.map(lambda *parts: jnp.concatenate(parts), _rows_of(run), rows))


def _rows_of(run: Trajectory) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("steps", *Row._fields)}


def _arrays_of(run: Trajectory) -> dict[str, Any]:
    """All that there is to keep of a run: arrays."""
    trained, _ = partition(run.params)
    state: Any = run.state
    return {"state": state._replace(params=trained)._asdict(), "rows": _rows_of(run), "limit": run.stable_learning_rate}


def _run_of(found: dict[str, Any], rest) -> Trajectory:
    """The run whose arrays were kept."""
    state = TrainingState(**found["state"])
    params = rest.join(state.params)
    state = state._replace(params=params)
    return Trajectory(
        params=params,
        state=state,
        diverged_at=state.diverged_at,
        stable_learning_rate=found["limit"],
        **found["rows"],
    )
