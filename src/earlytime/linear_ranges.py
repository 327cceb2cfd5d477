r"""How far from some parameters a network stays linear in them, along one direction; and how far its loss falls.

From outputs at a few distances and one Jacobian-vector product: nothing is trained.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers
from earlytime._blocks import fitting_block, map_blocks
from earlytime._labels import Loss, as_labels, check_labels
from earlytime._networks import applied, as_samples, check_independent, check_outputs, partition
from earlytime._validation import check_finite, check_tolerances
from earlytime.losses import resolve_loss
from jaxtyping import Float, Num, PyTree

# Powers of two of ‖θ‖/‖u‖.
_POWERS = np.arange(-16.0, 6.0)


class LinearRange(NamedTuple):
    r"""How far along a direction u a network is linear in its parameters, up to some tolerances.

    Attributes:
        tolerances: (t,).
        multiples: (t,) the smallest s at which the remainder of f(θ + su) reaches the tolerance; infinite where it
            never does within 32 ‖θ‖, NaN where it is above it everywhere and does not rise at first, as where rounding
            hides the network or θ lies on a kink.
        distances: (t,) the same as distances s‖u‖ in parameter space.
        scanned: (r,) the multiples that were looked at.
        remainders: (r,) ‖f(θ + su) - f(θ) - sJu‖/‖sJu‖ over all samples and outputs there.
    """

    tolerances: Float[np.ndarray, " t"]
    multiples: Float[np.ndarray, " t"]
    distances: Float[np.ndarray, " t"]
    scanned: Float[np.ndarray, " r"]
    remainders: Float[np.ndarray, " r"]


def linear_range(
    apply_fn: Callable,
    params: PyTree,
    direction: PyTree,
    x: Num[AnyArray, "n ..."],
    *,
    tolerances: Numbers = (0.05, 0.1, 0.3),
) -> LinearRange:
    r"""Where the first-order Taylor expansion along a direction is wrong by given shares of itself.

    $$\frac{\|f(\theta + su) - f(\theta) - s J u\|}{\|s J u\|}$$

    at 22 distances from $2^{-16}\|\theta\|$ to $32\,\|\theta\|$, between which it is interpolated as a power law.
    Along an optimizer's update this is how far training stays linear if it goes straight on; along standard normal
    numbers it is the standard deviation of the weights' noise up to which a linearized posterior holds.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k).
        params: θ, any pytree, as in `earlytime.tangent_kernel`.
        direction: u, a pytree like params; what is no parameter has no part in it.
        x: (n, ...) inputs.
        tolerances: shares between 0 and 1.

    Returns:
        LinearRange.

    Raises:
        ValueError: as `earlytime.tangent_kernel`; a direction of other shapes, not finite or 0; tolerances that are
            not between 0 and 1.

    Example:
        >>> f = lambda w, x: x @ w + (x @ w) ** 2
        >>> found = linear_range(f, jnp.array([0.0]), jnp.array([1.0]), jnp.array([[1.0]]), tolerances=[0.1])
        >>> print(f"{found.distances[0]:.3f}")
        0.100
    """
    trained, rest, along = _check(apply_fn, params, direction, x)
    x = as_samples("x", x)
    levels = check_tolerances(tolerances)
    scale, length = _scales(trained, along)
    multiples = scale * 2.0**_POWERS
    block_size = fitting_block(functools.partial(applied(apply_fn, rest), trained), x)
    remainders = np.asarray(
        _remainders(trained, rest, along, x, jnp.asarray(multiples), apply_fn=apply_fn, block_size=block_size)
    )
    found = np.array([_first_crossing(multiples, remainders, level) for level in levels])
    return LinearRange(levels, found, found * length, multiples, remainders)


@functools.partial(jax.jit, static_argnames=("apply_fn", "block_size"))
def _remainders(trained, rest, along, x, multiples, *, apply_fn, block_size):
    f = applied(apply_fn, rest)
    outputs = lambda params: map_blocks(lambda block: f(params, block), x, block_size)
    push = lambda block: jax.jvp(lambda p: f(p, block), (trained,), (along,))[1]
    start, slope = outputs(trained), map_blocks(push, x, block_size)

    def remainder(s):
        s = s.astype(slope.dtype)
        moved = outputs([p + s.astype(p.dtype) * u for p, u in zip(trained, along)])
        return jnp.linalg.norm(jnp.ravel(moved - start - s * slope)) / jnp.linalg.norm(jnp.ravel(s * slope))

    return jax.lax.map(remainder, multiples)


def _first_crossing(at, values, level) -> float:
    """Where values first rise to a level, as a power law between two of them; above rounding, which falls as 1/s."""
    below = np.flatnonzero(values < level)
    if not below.size:
        return float(at[0]) if values[0] < values[1] else float("nan")
    above = np.flatnonzero(~(values[below[0] :] < level)) + below[0]
    if not above.size:
        return float("inf")
    right = above[0]
    left = right - 1
    if not np.isfinite(values[right]) or values[left] <= 0:
        return float(at[left])
    share = np.log(level / values[left]) / np.log(values[right] / values[left])
    return float(np.exp(np.log(at[left]) + share * np.log(at[right] / at[left])))


def loss_range(
    apply_fn: Callable,
    params: PyTree,
    direction: PyTree,
    x: Num[AnyArray, "n ..."],
    y: AnyArray,
    *,
    loss: Loss = "squared",
) -> float:
    r"""The largest multiple s of a step at which the loss has not risen, $L(\theta + su) \le L(\theta)$.

    The first such crossing, from $2^{-16}\|\theta\|$ to $32\,\|\theta\|$. On a quadratic loss, along its gradient, that
    is twice the step that serves best.

    Args:
        apply_fn, params, direction, x: as in `linear_range`.
        y: labels as in `earlytime.train`.
        loss: as in `earlytime.train`.

    Returns:
        s; 0.0 where the loss rises from the start, infinite where it never does.

    Raises:
        ValueError: as `linear_range`; labels that do not fit.

    Example:
        >>> f = lambda w, x: x @ w
        >>> s = loss_range(f, jnp.array([1.0]), jnp.array([0.5]), jnp.array([[1.0]]), jnp.array([2.0]))
        >>> print(f"{s:.3f}")
        4.000
    """
    trained, rest, along = _check(apply_fn, params, direction, x)
    x = as_samples("x", x)
    outputs = check_outputs(apply_fn, trained, rest, x)
    if np.shape(y)[:1] != (len(x),):
        raise ValueError(f"y: expected one label for each of {len(x)} samples, got {np.shape(y)}")
    check_labels(loss, outputs, y)
    scale, _ = _scales(trained, along)
    block_size = fitting_block(functools.partial(applied(apply_fn, rest), trained), x)
    evaluate = lambda multiples: np.asarray(
        _losses(
            trained,
            rest,
            along,
            x,
            as_labels(loss, outputs, y),
            jnp.asarray(multiples),
            apply_fn=apply_fn,
            loss_fn=resolve_loss(loss),
            block_size=block_size,
        )
    )
    multiples = scale * 2.0**_POWERS
    losses = evaluate(np.append(0.0, multiples))
    slack = 8 * float(jnp.finfo(outputs.dtype).eps) * abs(losses[0])  # steps too small to be seen are not a rise
    rises = np.flatnonzero(~(losses[1:] <= losses[0] + slack))
    if not rises.size:
        return float("inf")
    if rises[0] == 0:
        return 0.0
    low, high = multiples[rises[0] - 1], multiples[rises[0]]
    between = np.linspace(low, high, len(multiples))  # as many as before: the same program
    closer = np.append(losses[0], evaluate(np.append(0.0, between))[1:])
    risen = closer[1:] - closer[0]
    risen[-1] = max(risen[-1], np.finfo(np.float32).tiny)  # as the first look found
    right = int(np.flatnonzero(~(risen <= 0))[0])
    if right == 0 or not np.isfinite(risen[right]):
        return float(between[max(right - 1, 0)])
    share = -risen[right - 1] / (risen[right] - risen[right - 1])
    return float(between[right - 1] + share * (between[right] - between[right - 1]))


@functools.partial(jax.jit, static_argnames=("apply_fn", "loss_fn", "block_size"))
def _losses(trained, rest, along, x, y, multiples, *, apply_fn, loss_fn, block_size):
    f = applied(apply_fn, rest)

    def at(s):
        moved = [p + s.astype(p.dtype) * u for p, u in zip(trained, along)]
        return jnp.mean(loss_fn(map_blocks(lambda block: f(moved, block), x, block_size), y))

    return jax.lax.map(at, multiples)


def _check(apply_fn, params, direction, x):
    trained, rest = partition(params)
    along = partition(direction, name="direction")[0]
    shapes, others = ([leaf.shape for leaf in leaves] for leaves in (trained, along))
    if shapes != others:
        raise ValueError(f"direction: expected parameters of shapes {shapes} as in params, got {others}")
    for leaf in along:
        check_finite("direction", leaf)
    x = as_samples("x", x)
    check_outputs(apply_fn, trained, rest, x)
    check_independent(apply_fn, trained, rest, x)
    return trained, rest, along


def _scales(trained, along) -> tuple[float, float]:
    """‖θ‖/‖u‖, or 1/‖u‖ for parameters that are 0, and ‖u‖."""
    size, length = (
        float(np.sqrt(sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in leaves))) for leaves in (trained, along)
    )
    if length == 0:
        raise ValueError("direction: expected one other than 0")
    return (size or 1.0) / length, length
