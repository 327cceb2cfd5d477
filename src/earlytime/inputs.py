r"""Synthetic inputs $x = \Sigma^{1/2}\bar x$ and teacher labels."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole, floating
from earlytime._validation import check_choice, check_integer, check_not_negative, check_shape, is_concrete
from earlytime.activations import Activation, resolve_activation
from jaxtyping import Array, Float, Num, PRNGKeyArray

# Each law has independent entries of mean 0 and variance 1.
_ENTRIES = {
    "gaussian": jax.random.normal,
    "rademacher": lambda key, shape: jax.random.rademacher(key, shape, dtype=float),
    "uniform": lambda key, shape: jax.random.uniform(key, shape, minval=-math.sqrt(3.0), maxval=math.sqrt(3.0)),
}


def sample_inputs(
    key: PRNGKeyArray,
    num_samples: Whole,
    dim: Whole,
    *,
    spectrum: str | Float[AnyArray, " dim"] = "isotropic",
    entries: str = "gaussian",
    rotate: bool = False,
) -> Float[Array, "num_samples dim"]:
    r"""Inputs $x = \Sigma^{1/2}\bar x$ with Tr Σ = d and independent entries of $\bar x$.

    Source: Hu et al. 2020, the assumption on the inputs (section 3).

    Args:
        key: random key.
        num_samples: n >= 1.
        dim: d >= 1.
        spectrum: "isotropic" (Σ = I), or the d eigenvalues of Σ, which sum to d.
        entries: the law of the entries of x̄: "gaussian", "rademacher" (±1) or "uniform".
        rotate: turn the eigenvectors of Σ away from the axes. The rotation is random but fixed
            for each d, so that training and test sets share one Σ. With a diagonal Σ and ±1
            entries every input has the same norm, which hides what the norm does.

    Returns:
        (num_samples, dim).

    Raises:
        ValueError: num_samples or dim below 1, an unknown law, eigenvalues that are negative,
            of the wrong number, or that do not sum to d.

    Example:
        >>> sample_inputs(jax.random.key(0), 3, 2, entries="rademacher").shape
        (3, 2)
    """
    check_integer("num_samples", num_samples, at_least=1)
    check_integer("dim", dim, at_least=1)
    check_choice("entries", entries, _ENTRIES)
    # The same numbers as of this shape at once, which XLA would compile for up to four times as long.
    standard = _ENTRIES[entries](key, (int(num_samples) * int(dim),)).reshape(int(num_samples), int(dim))
    if isinstance(spectrum, str):
        if spectrum != "isotropic":
            raise ValueError(f"spectrum: expected 'isotropic' or {dim} eigenvalues, got {spectrum!r}")
        return standard
    _check_spectrum(spectrum, dim)
    root = jnp.sqrt(jnp.asarray(spectrum, dtype=standard.dtype))
    if not rotate:
        return standard * root[None, :]
    directions = jax.random.normal(jax.random.key(dim), (int(dim) ** 2,)).reshape(int(dim), int(dim))
    basis, _ = jnp.linalg.qr(directions)
    return standard @ (basis * root[None, :]) @ basis.T


def _check_spectrum(spectrum, dim: Whole) -> None:
    check_shape("spectrum", spectrum, (int(dim),))
    check_not_negative("spectrum", spectrum)
    if is_concrete(spectrum):
        trace = np.asarray(spectrum, dtype=np.float64).sum()
        if abs(trace - dim) > 1e-4 * dim:
            raise ValueError(f"spectrum: expected a sum (Tr Sigma) of {dim}, got {trace}")


def teacher_labels(
    key: PRNGKeyArray,
    x: Num[AnyArray, "num_samples dim"],
    *,
    width: Whole = 5,
    activation: Activation = "erf",
) -> Float[Array, " num_samples"]:
    r"""Labels $y = \mathrm{sign}(f^*(x))$ of a random two-layer network $f^*$.

    The same key gives the same teacher: call it with the training and with the test inputs.

    Source: Hu et al. 2020, Figure 1 (width 5, erf).

    Args:
        key: random key of the teacher.
        x: (n, d) inputs.
        width: hidden neurons of the teacher.
        activation: activation of the teacher.

    Returns:
        (n,) labels, +1 or -1.

    Raises:
        ValueError: a width below 1, an unknown activation.

    Example:
        >>> x = sample_inputs(jax.random.key(0), 4, 3)
        >>> print(jnp.abs(teacher_labels(jax.random.key(1), x)))
        [1. 1. 1. 1.]
    """
    check_integer("width", width, at_least=1)
    phi = resolve_activation(activation)
    x = floating("x", x)
    dim, width = x.shape[1], int(width)
    # One program draws both: JAX's random numbers are those of their places in the array, whatever its size.
    draw = lambda key: jax.random.normal(key, (width * dim,), dtype=x.dtype)
    w, v = jax.lax.map(draw, jax.random.split(key))
    w, v = w.reshape(width, dim), v[:width]
    return jnp.where(phi(x @ w.T / math.sqrt(dim)) @ v >= 0, 1.0, -1.0).astype(x.dtype)


def equal_norms(x: Num[AnyArray, "n dim"]) -> Float[Array, "n dim"]:
    r"""The inputs, each scaled to norm $\sqrt d$.

    Args:
        x: (n, d), none of them 0.

    Raises:
        ValueError: a row of zeros, where it can be looked at.

    Example:
        >>> print(jnp.linalg.norm(equal_norms(jnp.array([[3.0, 4.0], [1.0, 0.0]])), axis=1) ** 2)
        [2. 2.]
    """
    if is_concrete(x) and not np.any(x, axis=1).all():
        raise ValueError(f"x: expected no row of zeros, got {int(np.sum(~np.any(x, axis=1)))}")
    x = floating("x", x)
    return x * math.sqrt(x.shape[1]) / jnp.linalg.norm(x, axis=1, keepdims=True)


def random_labels(key: PRNGKeyArray, num_samples: Whole) -> Float[Array, " num_samples"]:
    """Labels ±1 that have nothing to do with the inputs.

    Raises:
        ValueError: num_samples below 1.

    Example:
        >>> print(jnp.abs(random_labels(jax.random.key(0), 3)))
        [1. 1. 1.]
    """
    check_integer("num_samples", num_samples, at_least=1)
    return jax.random.rademacher(key, (int(num_samples),), dtype=float)


class Task(NamedTuple):
    """Training and test data: inputs (n, d) and labels (n,)."""

    x: Float[Array, "n dim"]
    y: Float[Array, " n"]
    x_test: Float[Array, "n_test dim"]
    y_test: Float[Array, " n_test"]


def sample_task(key: PRNGKeyArray, num_samples: Whole, num_test: Whole, dim: Whole, **inputs) -> Task:
    """The synthetic task of Figure 1: inputs of one law with the labels of one random teacher.

    Source: Hu et al. 2020, section 3.3.

    Args:
        key: random key.
        num_samples: training samples, n.
        num_test: test samples.
        dim: d.
        inputs: spectrum, entries and rotate of `sample_inputs`.

    Returns:
        Task(x, y, x_test, y_test).

    Raises:
        ValueError: as `sample_inputs`.

    Example:
        >>> task = sample_task(jax.random.key(0), 8, 4, 3)
        >>> task.x.shape, task.y_test.shape
        ((8, 3), (4,))
    """
    check_integer("num_samples", num_samples, at_least=1)
    check_integer("num_test", num_test, at_least=1)
    key_x, key_teacher = jax.random.split(key)
    x = sample_inputs(key_x, num_samples + num_test, dim, **inputs)
    y = teacher_labels(key_teacher, x)
    return Task(x[:num_samples], y[:num_samples], x[num_samples:], y[num_samples:])
