r"""Gradient flow on any loss in function space, where there is no closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers, Real, Whole, real
from earlytime._blocks import along
from earlytime._labels import Loss, as_labels, check_labels
from earlytime._validation import (
    check_finite,
    check_integer,
    check_kernel,
    check_kernel_new,
    check_real,
    check_start,
    is_concrete,
)
from earlytime.losses import resolve_loss
from jaxtyping import Array, Float, Num


def loss_flow(
    kernel: Num[AnyArray, "p p"],
    y: AnyArray,
    *,
    loss: Loss,
    time: Numbers,
    start: Num[AnyArray, "n ..."],
    kernel_new: Float[AnyArray, "q p"] | None = None,
    start_new: Float[AnyArray, "n_new ..."] | Real = 0.0,
    max_steps: Whole = 100_000,
) -> tuple[Float[Array, "r n ..."], Float[Array, "r n_new ..."]]:
    r"""Gradient flow on any loss with a constant kernel, by diffrax.

    $$f(X) = f_0(X) + \Theta\alpha, \qquad
      \frac{d\alpha_i}{d\,\text{time}} = -\frac1n \frac{\partial \ell}{\partial f}(f(x_i), y_i),$$

    $$f(x) = f_0(x) + \Theta(x, X)\,\alpha$$

    Source: Lee et al. 2019, section 2.2 (its equations for a general loss).

    Args:
        kernel: Θ(X, X), (n, n) or (nk, nk), as in `kernel_dynamics`.
        y: labels, as `train` takes them with this loss.
        loss: "cross_entropy", "squared", or a function, as in `train`.
        time: increasing numbers > 0, learning_rate · step.
        start: f₀ on the training set, (n,) or (n, k).
        kernel_new: Θ(x, X) for new inputs.
        start_new: f₀ on the new inputs.
        max_steps: of the solver; what comes after them is infinite.

    Returns:
        Outputs (len(time), n, ...) on the training set, and on the new inputs (with none of them without
        kernel_new). Tolerances are 1e-10 in float64 and 1e-6 in float32.

    Raises:
        ValueError: times that do not increase, shapes or labels that do not fit, numbers that are not
            finite or complex, an unknown loss; a kernel that is not symmetric or has a negative eigenvalue.
        ImportError: diffrax is not installed.

    Example:
        >>> outputs, _ = loss_flow(jnp.eye(2), jnp.array([1.0, -1.0]), loss="cross_entropy",
        ...                        time=[1.0, 10.0], start=jnp.zeros(2))
        >>> print(*(f"{value:.3f}" for value in outputs[:, 0]))  # solves f + exp(f) = 1 + time/2
        0.235 1.503
    """
    try:
        import diffrax  # imported late: it takes a second, and only this function needs it
    except ImportError:
        raise ImportError("loss_flow needs the package diffrax: pip install diffrax") from None

    if np.ndim(time) != 1 or np.size(time) == 0 or not _increasing(time):
        raise ValueError(f"time: expected increasing finite numbers > 0, got {time!r}")
    if np.ndim(start) not in (1, 2):
        raise ValueError(f"start: expected shape (n,) or (n, k), got {np.shape(start)}")
    if np.shape(y)[:1] != np.shape(start)[:1]:
        raise ValueError(f"y: expected one label per sample, {np.shape(start)[0]}, got shape {np.shape(y)}")
    if np.shape(kernel) not in {(p, p) for p in (np.shape(start)[0], np.size(start))}:
        raise ValueError(f"kernel: expected (n, n) or (nk, nk) for a start {np.shape(start)}, got {np.shape(kernel)}")
    check_kernel("kernel", kernel)
    for name, value in (("y", y), ("start", start), ("start_new", start_new)):
        check_real(name, value)
        check_finite(name, value)
    check_integer("max_steps", max_steps, at_least=1)
    kernel = real("kernel", kernel)
    start = real("start", start).astype(kernel.dtype)
    y = as_labels(loss, start, y)
    check_labels(loss, start, y, source="start")
    if kernel_new is not None:
        n_new = check_kernel_new(kernel_new, kernel.shape[0], start.shape[0])
        check_start("start_new", start_new, (n_new, *start.shape[1:]))
    loss_fn, n = resolve_loss(loss), start.shape[0]
    flat = lambda outputs: outputs.reshape(kernel.shape[0], -1)
    outputs = lambda alpha: start + (kernel @ alpha).reshape(start.shape)
    slope = jax.grad(lambda f: jnp.sum(loss_fn(f, y)) / n)
    tolerance = 1e-10 if kernel.dtype == jnp.float64 else 1e-6
    times = jnp.asarray(time, kernel.dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda _, alpha, args: -flat(slope(outputs(alpha)))),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=jnp.zeros_like(flat(start)),
        saveat=diffrax.SaveAt(ts=times),
        max_steps=max_steps,
        throw=False,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
    )
    on_train = jax.vmap(outputs)(solution.ys)
    if kernel_new is None:
        return on_train, jnp.zeros((len(times), 0, *start.shape[1:]), start.dtype)
    change = jnp.einsum("qp,rpk->rqk", kernel_new, solution.ys)
    change = change.reshape(len(times), -1, *start.shape[1:])
    return on_train, along(change, start_new) + change


def _increasing(time) -> bool:
    return not is_concrete(time) or bool(np.all(np.isfinite(time)) and np.all(np.diff(time, prepend=0.0) > 0))
