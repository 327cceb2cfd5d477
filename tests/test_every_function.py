"""Every public function, under all of JAX's flags and with numbers of every kind: the values of float64."""

import contextlib
import re

import earlytime as et
import earlytime.infinite_width as iw
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from earlytime import affine_kernels, curvature, features, kernels, operators
from earlytime.gaussian_processes import training_process
from earlytime.krylov import krylov_dynamics

X64 = np.random.default_rng(0).normal(size=(6, 3))
Y64 = np.sign(X64[:, 0])
MOMENTS = et.gaussian_moments("erf")
RUN = {"learning_rate": 0.1, "num_steps": 2, "record_steps": (0, 2)}


def network():
    return et.two_layer(3, 4, "softplus")


def params(x):
    w, v = np.arange(12.0).reshape(4, 3) / 8, np.array([1.0, -1.0, 2.0, 1.0])
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float
    return et.TwoLayerParams(jnp.asarray(w, dtype), jnp.asarray(v, dtype))


# Every public function that computes, as a call on inputs and labels whose value does not depend on random numbers.
CALLS = {
    "train": lambda x, y: et.train(network().apply, params(x), x, y, x_test=x, y_test=y, **RUN).test_loss,
    "train, no test": lambda x, y: et.train(network().apply, params(x), x, y, **RUN).train_outputs,
    "train, momentum": lambda x, y: (
        et.train(network().apply, params(x), x, y, momentum=0.5, batch_size=6, key=jax.random.key(0), **RUN).train_loss
    ),
    "train, cross_entropy": lambda x, y: (
        et.train(network().apply, params(x), x, y, loss="cross_entropy", **RUN).train_loss
    ),
    "train, diverged": lambda x, y: (
        et.train(
            network().apply, params(x), x, y, learning_rate=1e4, num_steps=9, record_steps=(0,)
        ).stable_learning_rate
    ),
    "over_seeds": lambda x, y: et.over_seeds(
        lambda key, x, y: et.train(network().apply, params(x), x, y, **RUN).train_loss, 0, 2, x, y
    ),
    "tangent_kernel": lambda x, y: et.tangent_kernel(network().apply, params(x), x).dense(),
    "tangent_kernel.matvec": lambda x, y: et.tangent_kernel(network().apply, params(x), x).matvec(y),
    "two_layer_kernel": lambda x, y: et.two_layer_kernel(params(x), x, "softplus", trained="both").dense(),
    "two_layer_kernel.matvec": lambda x, y: et.two_layer_kernel(params(x), x, "softplus", trained="both").matvec(y),
    "gradient_norms": lambda x, y: kernels.gradient_norms(network().apply, params(x), x),
    "output_hessian": lambda x, y: curvature.output_hessian(network().apply, params(x), x[0]).dense(),
    "hessian_norm": lambda x, y: et.hessian_norm(network().apply, params(x), x[0], key=jax.random.key(0)).value,
    "two_layer_hessian_norm": lambda x, y: curvature.two_layer_hessian_norm(
        params(x), x[0], "softplus", trained="both"
    ),
    "kernel_change": lambda x, y: kernels.kernel_change(np.stack([x[:3], x[3:]])),
    "kernel_change_bound": lambda x, y: kernels.kernel_change_bound(x[0] ** 2, 1.0, x[1] ** 2),
    "parameter_distance": lambda x, y: kernels.parameter_distance({"a": x}, {"a": 2 * x}),
    "stable_learning_rate": lambda x, y: kernels.stable_learning_rate(x @ x.T),
    "linear_kernel": lambda x, y: et.linear_kernel(lambda x: x, x).matvec(y),
    "spectral_norm": lambda x, y: et.spectral_norm(et.linear_kernel(lambda x: x, x), key=jax.random.key(0)).value,
    "complement": lambda x, y: operators.complement(et.linear_kernel(lambda x: x, x), y).dense(),
    "schur_complement": lambda x, y: operators.schur_complement(et.linear_kernel(lambda x: x, x), y).dense(),
    "linearize": lambda x, y: (
        et.train(
            et.linearize(network()).apply, et.linearization.LinearizedParams.around(params(x)), x, y, **RUN
        ).train_outputs
    ),
    "kernel_dynamics": lambda x, y: et.kernel_dynamics(x @ x.T, y, learning_rate=0.1).predict(time=[0.0, 1.0, np.inf]),
    "kernel_dynamics.steps": lambda x, y: et.kernel_dynamics(x @ x.T, y, learning_rate=0.1, momentum=0.5).predict(
        steps=[0, 3], kernel_new=x[:2] @ x.T
    ),
    "kernel_dynamics, traced": lambda x, y: jax.jit(
        lambda x, y: et.kernel_dynamics(x @ x.T, y, learning_rate=0.1).predict(time=1.0)
    )(x, y),
    "krylov_dynamics": lambda x, y: (
        krylov_dynamics(et.linear_kernel(lambda x: x, x), y, learning_rate=0.1, num_matvecs=3).coefficients([0, 2])[1]
        @ x
    ),
    "loss_flow": lambda x, y: et.loss_flow(x @ x.T, y, loss="cross_entropy", time=[1.0], start=0 * y)[0],
    "linear_model": lambda x, y: et.linear_model(lambda x: x, x, y, learning_rate=0.1).predict(x, [0, 5]),
    "linear_model.limit": lambda x, y: et.linear_model(lambda x: x, x, y, learning_rate=0.1).predict_limit(x),
    "early_time_model": lambda x, y: et.early_time_model(MOMENTS, x, y, trained="both", learning_rate=0.1).predict(
        x, 3
    ),
    "estimate_trace_sigma_squared": lambda x, y: et.estimate_trace_sigma_squared(x),
    "norm_feature": lambda x, y: features.norm_feature((0.5, 1.0, 2.0), x),
    "affine_features": lambda x, y: (lambda psi: psi @ psi.T)(
        affine_kernels.affine_features(affine_kernels.affine_kernel("erf", depth=2), dim=3, mean_squared_rho=0.3)(x)
    ),
    "equal_norms": lambda x, y: et.inputs.equal_norms(x),
    "infinite_width": lambda x, y: iw.fully_connected("erf", depth=1)(x).ntk,
    "infinite_width, quadrature": lambda x, y: iw.fully_connected("tanh", depth=1)(x).ntk,
    "training_process": lambda x, y: (
        training_process(iw.fully_connected("erf", depth=1), x, y, x[:2] / 2, learning_rate=0.1).at(time=1.0).mean
    ),
    "compare": lambda x, y: (
        et.compare(
            et.train(network().apply, params(x), x, y, x_test=x, y_test=y, **RUN),
            et.linear_model(lambda x: x, x, y, learning_rate=0.1),
            x,
            y,
            x,
            y,
        ).test_discrepancy
    ),
}


@contextlib.contextmanager
def flags(x64):
    """All of JAX's flags that refuse something, at once."""
    with (
        jax.enable_x64(x64),
        jax.debug_nans(True),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
    ):
        yield


@pytest.mark.parametrize("name", CALLS)
def test_every_flag_at_once(name):
    exact = np.asarray(CALLS[name](X64, Y64))
    assert exact.dtype == np.float64 and exact.size
    for x64 in (True, False):
        with flags(x64):
            dtype = np.float64 if x64 else np.float32
            found = np.asarray(CALLS[name](X64.astype(dtype), Y64.astype(dtype)))
        np.testing.assert_allclose(found, exact, rtol=1e-9 if x64 else 2e-4, atol=1e-9 if x64 else 2e-5)


# Numbers that bfloat16 and small whole numbers hold exactly, with their products.
QUARTERS = np.random.default_rng(1).integers(-2, 3, (6, 3)) / 2
COUNTS = np.random.default_rng(1).integers(0, 4, (6, 3))
COUNTS[0] = QUARTERS[0] = 1


def strided(a):
    """A NumPy array that nobody may write to, with other numbers between its own."""
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 7.0)
    wide[..., ::2] = a
    wide.flags.writeable = False
    return wide[..., ::2]


KINDS = {
    "uint8": (COUNTS, lambda a: a.astype(np.uint8)),
    "int32": (COUNTS, lambda a: jnp.asarray(a, jnp.int32)),
    "float16": (QUARTERS, lambda a: a.astype(np.float16)),
    "bfloat16": (QUARTERS, lambda a: jnp.asarray(a, jnp.bfloat16)),
    "strided": (QUARTERS, strided),
    "jax": (QUARTERS, jnp.asarray),
}
# Their arguments are not inputs but what was computed from some: floating-point numbers.
NOT_OF_COUNTS = {"parameter_distance"}
# diffrax takes seconds to compile, and `compare` is made of what is tested here.
SLOW = {"loss_flow", "compare"}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in SLOW])
def test_numbers_of_every_kind(name):
    jaxtyping.config.update("jaxtyping_disable", True)
    wrong = []
    try:
        for kind, (x, of) in KINDS.items():
            if kind in ("uint8", "int32") and name in NOT_OF_COUNTS:
                continue
            exact = CALLS[name](x.astype(float), np.ones(6))
            try:
                with jax.numpy_dtype_promotion("standard"):
                    found = CALLS[name](of(x), of(np.ones(6)))
            except ValueError as error:
                if not re.match(r"^[a-z_0-9.]+: ", str(error)):
                    wrong.append((kind, str(error)[:200]))
                continue
            except Exception as error:
                wrong.append((kind, repr(error)[:200]))
                continue
            if not np.allclose(np.asarray(found, float), exact, rtol=2e-4, atol=2e-5):
                wrong.append((kind, np.asarray(found, float).ravel()[:3], np.asarray(exact).ravel()[:3]))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert not wrong, wrong
