r"""What an affine function of the inputs can do: the share of other outputs that it explains, and the best loss.

By ridge regression. The share takes the ridge of the smallest generalized cross-validation; the best loss takes none,
or with fewer samples than five for each weight the one that serves best on samples that were left out.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, host_random
from earlytime._labels import Loss, as_labels, check_labels
from earlytime._validation import check_finite, check_real
from earlytime.losses import resolve_loss
from jaxtyping import Float, Num, PRNGKeyArray

# Ridges in units of the mean eigenvalue of the features' covariance.
_RIDGES = np.concatenate([[1e-8], np.logspace(-4, 3, 15)])
_PER_INPUT = 5


class AffineShare(NamedTuple):
    """How much of some outputs is affine in the inputs.

    Attributes:
        share: (...,) R² on samples that the fit has not seen: 1 for an affine function, 0 or below for nothing.
        floor: (...,) the same with the inputs of other samples: what chance gives.
    """

    share: Float[np.ndarray, "..."]
    floor: Float[np.ndarray, "..."]


def affine_share(
    features: Num[AnyArray, "n d"], outputs: Num[AnyArray, "... n k"], *, key: PRNGKeyArray
) -> AffineShare:
    r"""The share of the outputs' variance that an affine function of the features explains, on samples left out.

    $$R^2 = 1 - \frac{\sum_i \|g(x_i) - \hat g(x_i)\|^2}{\sum_i \|g(x_i) - \bar g\|^2}$$

    where ĝ is fitted on one half of the samples and measured on the other, and both ways round. The ridge is that of
    the smallest generalized cross-validation on the half that is fitted, each output together with the others.

    Args:
        features: (n, d), n >= 4.
        outputs: (..., n, k); one share for every leading index. Outputs (n,) need a last axis.
        key: random key of the halves.

    Returns:
        AffineShare; NaN for outputs that do not vary.

    Raises:
        ValueError: shapes that do not fit, fewer than four samples, numbers that are not finite.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 3))
        >>> found = affine_share(x, x @ np.ones((3, 1)) + 1, key=jax.random.key(0))
        >>> print(f"{found.share:.3f}")
        1.000
    """
    _check_features(features, at_least=4)
    n = np.shape(features)[0]
    if np.ndim(outputs) < 2 or np.shape(outputs)[-2] != n:
        raise ValueError(f"outputs: expected shape (..., {n}, k), got {np.shape(outputs)}")
    check_real("outputs", outputs)
    check_finite("outputs", outputs)
    phi, g = np.asarray(features, np.float64), np.asarray(outputs, np.float64)
    draw = host_random(key)
    order, other = draw.permutation(n), draw.permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    return AffineShare(_held_out(phi, g, halves), _held_out(phi[other], g, halves))


def _held_out(phi, g, halves):
    left, total = 0.0, 0.0
    for fit, test in (halves, halves[::-1]):
        predicted = _ridge(phi[fit], g[..., fit, :], phi[test])
        left = left + np.sum((g[..., test, :] - predicted) ** 2, axis=(-2, -1))
        off = g[..., test, :] - g[..., fit, :].mean(axis=-2, keepdims=True)
        total = total + np.sum(off**2, axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - left / total, np.nan)


def _ridge(phi, g, phi_new):
    """Predictions on new samples, with the ridge that has the smallest generalized cross-validation."""
    n = len(phi)
    middle, spread = phi.mean(axis=0), phi.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    left, sizes, right = np.linalg.svd((phi - middle) / spread, full_matrices=False)
    offset = g.mean(axis=-2, keepdims=True)
    projected = left.T @ (g - offset)  # (..., r, k)
    outside = np.sum((g - offset - left @ projected) ** 2, axis=(-2, -1))
    unit = max(np.sum(sizes**2) / max(len(sizes), 1), np.finfo(float).tiny)
    scores = []
    for ridge in _RIDGES * unit:
        missed = ridge / (sizes**2 + ridge)
        residual = outside + np.sum((missed[:, None] * projected) ** 2, axis=(-2, -1))
        free = 1 - (1 + np.sum(1 - missed)) / n
        scores.append(residual / free**2 if free > 1e-9 else np.full_like(residual, np.inf))
    ridge = (_RIDGES * unit)[np.argmin(scores, axis=0)][..., None, None]
    weights = right.T @ (sizes[:, None] / (sizes[:, None] ** 2 + ridge) * projected)
    return offset + (phi_new - middle) / spread @ weights


class AffineBaseline(NamedTuple):
    """The best affine predictor.

    Attributes:
        train_loss: on the samples that it was fitted to, all of them.
        held_out_loss: on the quarter of the samples that a fit to the others has not seen.
        ridge: the penalty ridge/2 ‖W‖² on the weights of standardized features; 0 where there are five samples for
            each weight.
    """

    train_loss: float
    held_out_loss: float
    ridge: float


def affine_baseline(
    features: Num[AnyArray, "n d"], y: AnyArray, *, loss: Loss, num_outputs: int | None, key: PRNGKeyArray
) -> AffineBaseline:
    r"""The smallest loss that an affine function Wφ(x) + c reaches, in the network's own loss.

    By least squares, or by L-BFGS for another loss, on standardized features.

    Args:
        features: (n, d), n >= 4.
        y: labels as in `earlytime.train`.
        loss: as in `earlytime.train`.
        num_outputs: k for outputs (n, k), None for outputs (n,).
        key: random key of the samples that are left out.

    Returns:
        AffineBaseline.

    Raises:
        ValueError: shapes that do not fit, fewer than four samples, numbers that are not finite.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 2))
        >>> best = affine_baseline(x, x @ np.ones(2) + 3, loss="squared", num_outputs=None, key=jax.random.key(0))
        >>> print(f"{best.train_loss:.4f}")
        0.0000
    """
    _check_features(features, at_least=4)
    n, d = np.shape(features)
    shape = (n,) if num_outputs is None else (n, num_outputs)
    if np.shape(y)[:1] != (n,):
        raise ValueError(f"y: expected one label for each of {n} samples, got {np.shape(y)}")
    outputs = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    check_labels(loss, outputs, y)
    labels = as_labels(loss, outputs, y)
    phi = np.asarray(features, np.float64)
    spread = phi.std(axis=0)
    phi = (phi - phi.mean(axis=0)) / np.where(spread > 0, spread, 1)
    inputs = jnp.asarray(phi, jnp.result_type(float))
    is_test = (host_random(key).permutation(n) < n // 4).astype(phi.dtype)
    fit = functools.partial(_fit, inputs, labels, loss=loss, num_outputs=num_outputs)
    at = functools.partial(_loss, x=inputs, y=labels, loss=loss, num_outputs=num_outputs)
    # Of classes, all weights of an input take part in one fit; of the squared loss each output has its own.
    each = d if loss == "squared" else d * (num_outputs or 1)
    ridges = [0.0] if n >= _PER_INPUT * each else list(np.logspace(2, -4, 4))
    found, weights = [], [np.zeros((d + 1) * (num_outputs or 1))]
    for ridge in ridges:  # the strongest first, and from there on
        weights.append(fit(1 - is_test, ridge=ridge, start=weights[-1]))
        found.append(at(weights[-1], counts=is_test))
    best = int(np.nanargmin(found)) if np.any(np.isfinite(found)) else 0
    every = np.ones(n)
    last = fit(every, ridge=ridges[best], start=weights[best + 1])
    return AffineBaseline(at(last, counts=every), found[best], float(ridges[best]))


@functools.partial(jax.jit, static_argnames=("loss_fn", "num_outputs"))
def _loss_and_slope(weights, x, y, counts, ridge, *, loss_fn, num_outputs):
    """The loss alone, of the samples that count; and with the penalty, value and gradient."""

    def objective(weights):
        table = weights.reshape(x.shape[1] + 1, num_outputs or 1)
        outputs = x @ table[:-1] + table[-1:]
        losses = loss_fn(outputs[:, 0] if num_outputs is None else outputs, y)
        loss = jnp.sum(counts.astype(losses.dtype) * losses) / jnp.sum(counts)
        return loss + ridge / 2 * jnp.sum(table[:-1] ** 2), loss

    (value, loss), slope = jax.value_and_grad(objective, has_aux=True)(weights)
    return loss, value, slope


def _loss(weights, *, x, y, counts, loss, num_outputs) -> float:
    cast = functools.partial(jnp.asarray, dtype=x.dtype)
    how = {"loss_fn": resolve_loss(loss), "num_outputs": num_outputs}
    return float(_loss_and_slope(cast(weights), x, y, cast(counts), cast(0), **how)[0])


def _fit(x, y, counts, *, loss, num_outputs, ridge, start):
    import scipy.optimize  # late: most programs fit nothing

    if loss == "squared":
        return _least_squares(np.asarray(x, np.float64), np.asarray(y, np.float64), counts, ridge)
    cast = functools.partial(jnp.asarray, dtype=x.dtype)
    how = {"loss_fn": resolve_loss(loss), "num_outputs": num_outputs}
    fixed = x, y, cast(counts), cast(ridge)

    def objective(weights):
        _, value, slope = _loss_and_slope(cast(weights), *fixed, **how)
        return float(value), np.asarray(slope, np.float64)

    return scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x


def _least_squares(x, y, counts, ridge):
    """The weights and the constant that are best for the squared loss, as `_fit` lines them up."""
    n, total = len(x), counts.sum()
    x, y = x[counts > 0], y.reshape(n, -1)[counts > 0]
    middle, center = x.mean(axis=0), y.mean(axis=0)
    design = np.concatenate([x - middle, np.sqrt(ridge * total) * np.eye(x.shape[1])])
    targets = np.concatenate([y - center, np.zeros((x.shape[1], y.shape[1]))])
    weights = np.linalg.lstsq(design, targets, rcond=None)[0]
    return np.concatenate([weights, (center - middle @ weights)[None]]).ravel()


def _check_features(features, *, at_least: int) -> None:
    if np.ndim(features) != 2 or np.shape(features)[0] < at_least:
        raise ValueError(f"features: expected shape (n, d) with n >= {at_least}, got {np.shape(features)}")
    check_real("features", features)
    check_finite("features", features)
