"""Every public function, under all of JAX's flags and with numbers of every kind: the values of float64."""

import contextlib
import functools

import earlytime as et
import earlytime.infinite_width as iw
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from earlytime import (
    affine_fits,
    affine_kernels,
    assembled_networks,
    curvature,
    diagonal_networks,
    features,
    graph_networks,
    input_statistics,
    kernels,
    learning_curves,
    linear_ranges,
    nearest_kernels,
    networks,
    operators,
    stable_ranks,
)
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


GRAPH = graph_networks.layers([[0, 1], [1, 3], [2, 3, 4]], dim=3)
SPHERE = learning_curves.sphere_spectrum(lambda rho: 1 + rho + rho**2, dim=3, num_degrees=3)
TABLE = et.tabulated_kernels.tabulated_kernel("erf", depth=1)


def precision(x):
    """What a network's parameters have, for inputs of any kind."""
    return x.dtype if jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits >= 32 else float


def no_draw(shape, x):
    """Parameters of this shape, the same in every precision."""
    return jnp.asarray(np.cos(np.arange(np.prod(shape))).reshape(shape), precision(x))


def applied(net, x):
    """A network's outputs at parameters that are no draw."""
    start = jax.eval_shape(net.init, jax.random.key(0))
    return net.apply(jax.tree.map(lambda leaf: no_draw(leaf.shape, x), start), x)


def weights_of_graph(x):
    return tuple(graph_networks.Vertices(no_draw(there.shape, x), jnp.asarray(there)) for there in GRAPH)


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
    "model_hessian_norms": lambda x, y: assembled_networks.model_hessian_norms(
        assembled_networks.neuron(3, "softplus"), params(x).w, x[0]
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
    "quadratic_features": lambda x, y: (lambda psi: psi @ psi.T)(
        features.quadratic_features(np.array([0.5, 0.4, 0.3, 0.2, 0.1]), trained="both", dim=3)(
            et.inputs.equal_norms(x)
        )
    ),
    "infinite_width": lambda x, y: iw.fully_connected("erf", depth=1)(x).ntk,
    "infinite_width, quadrature": lambda x, y: iw.fully_connected("tanh", depth=1)(x).ntk,
    "training_process": lambda x, y: (
        training_process(iw.fully_connected("erf", depth=1), x, y, x[:2] / 2, learning_rate=0.1).at(time=1.0).mean
    ),
    "averaged_kernel": lambda x, y: kernels.averaged_kernel(network().apply, params(x), x),
    "gauss_newton": lambda x, y: curvature.gauss_newton(network().apply, params(x), x, y).matvec(np.ones(16)),
    "linear_range": lambda x, y: (
        linear_ranges.linear_range(network().apply, params(x), params(x), x, tolerances=[0.1]).distances
    ),
    "loss_range": lambda x, y: np.asarray([linear_ranges.loss_range(network().apply, params(x), params(x), x, 3 * y)]),
    "nearest_linear_kernel": lambda x, y: np.asarray(nearest_kernels.nearest_linear_kernel(x @ x.T, x)[:2]),
    "kernel_turn": lambda x, y: np.asarray(nearest_kernels.kernel_turn(x @ x.T, x**2 @ (x**2).T)),
    "input_statistics": lambda x, y: np.asarray(input_statistics.input_statistics(x)[2:6]),
    "affine_share": lambda x, y: affine_fits.affine_share(x, x[:, :2], key=jax.random.key(0)).share,
    "affine_baseline": lambda x, y: np.asarray(
        [
            affine_fits.affine_baseline(
                x, x[:, 0] ** 2, loss="squared", num_outputs=None, key=jax.random.key(0)
            ).train_loss
        ]
    ),
    "symmetric": lambda x, y: et.symmetric(network()).apply(jax.tree.map(lambda p: jnp.stack([p, -p]), params(x)), x),
    "with_output": lambda x, y: networks.with_output(network(), "tanh").apply(
        params(jnp.zeros(1, precision(x))), jnp.asarray(x, precision(x))
    ),
    "fully_connected": lambda x, y: applied(et.fully_connected(3, 4, "tanh", depth=2), x),
    "standard_parameterization": lambda x, y: applied(
        et.parameterization.standard_parameterization(et.fully_connected(3, 4, "tanh", depth=2)), x
    ),
    "assemble": lambda x, y: applied(assembled_networks.assemble(et.fully_connected(3, 2, "tanh", depth=1), 4, 2), x),
    "convolutional": lambda x, y: applied(et.convolutional((3, 1), 2, "tanh", depth=1, filter_size=2), x),
    "residual": lambda x, y: applied(et.residual((3, 1), 2, "tanh", num_blocks=1, filter_size=2), x),
    "infinite_width.convolutional": lambda x, y: iw.convolutional((3, 1), "erf", depth=1, filter_size=2)(x).ntk,
    "infinite_width.residual": lambda x, y: iw.residual((3, 1), "erf", num_blocks=1, filter_size=2)(x).nngp,
    "ring_kernel": lambda x, y: et.patch_kernels.ring_kernel(
        2 * (np.asarray(x, float) > 0.1) - 1,
        jnp.asarray(et.patch_kernels.patch_kernel("erf", filter_size=2).sum(0)[None], float),
        filter_size=2,
    ),
    "tabulated_kernel": lambda x, y: TABLE(x.clip(-1, 1)),
    "fit_power_law": lambda x, y: np.asarray(
        et.fit_power_law([2, 4, 8], np.abs(np.asarray(x[:2], float)) + [1.0, 2, 3]).interval
    ),
    "deep_kernel": lambda x, y: et.deep_kernels.deep_kernel("erf", depth=2)(x[:, 0] ** 2, 1.0, 0.3).ntk,
    "diagonal_kernel": lambda x, y: et.deep_kernels.diagonal_kernel("erf", depth=2)(x[:, 0] ** 2).ntk,
    "early_time_features": lambda x, y: (lambda psi: psi @ psi.T)(
        et.early_time_features(MOMENTS, trained="both", dim=3, trace_sigma_squared=3.0)(x)
    ),
    "diagonal_linear": lambda x, y: applied(diagonal_networks.diagonal_linear(3, 2, 0.5), x),
    "hypentropy": lambda x, y: diagonal_networks.hypentropy(x),
    "potential": lambda x, y: diagonal_networks.potential(x, 3),
    "minimum_l1": lambda x, y: diagonal_networks.minimum_l1(x[:2], y[:2]).beta,
    "minimum_potential": lambda x, y: diagonal_networks.minimum_potential(x[:2], y[:2], 0.5, 3).beta,
    "directed_acyclic": lambda x, y: graph_networks.directed_acyclic(GRAPH, "tanh").apply(weights_of_graph(x), x),
    "vertex_influence": lambda x, y: graph_networks.vertex_influence(
        graph_networks.directed_acyclic(GRAPH, "tanh"), weights_of_graph(x), x[0]
    ),
    "ridge_learning_curve": lambda x, y: learning_curves.ridge_learning_curve(
        SPHERE, np.square(x[0]), np.array([3, 5]), ridge=0.1
    ),
    "low_rank": lambda x, y: operators.low_rank(x, x[:2]).dense(),
    "mean_and_slope": lambda x, y: np.asarray(et.patch_kernels.mean_and_slope(x[0], filter_size=2)),
    "independent_two_layer": lambda x, y: applied(stable_ranks.independent_two_layer(3, 4, "softplus"), x),
    "stable_rank": lambda x, y: stable_ranks.stable_rank(x),
    "normalized_margins": lambda x, y: stable_ranks.normalized_margins(x[:, 0], y, x),
    "two_layer": lambda x, y: applied(network(), x),
    "squared": lambda x, y: et.losses.squared(x[:, 0], y) + et.losses.squared(x, x / 2),
    "cross_entropy": lambda x, y: (
        et.losses.cross_entropy(x[:, 0], y)
        + et.losses.cross_entropy(x, np.ones(len(x), np.uint8))
        + et.losses.cross_entropy(x, np.broadcast_to(np.eye(3)[0], x.shape).astype(x.dtype))
    ),
    "confidence_interval": lambda x, y: np.asarray(et.statistics.confidence_interval(x[:, 0])),
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


# Public functions that are not in the table, and why; the modules are named where it is all of them.
NOT_IN_THE_TABLE = {
    "they draw at random, and what they draw depends on the precision": [
        "sample_inputs", "sample_task", "teacher_labels", "inputs.random_labels", "learning_curves.harmonic_labels",
        "graph_networks.random_parents",
    ],
    "they take numbers and names, and of arrays at most the shapes": [
        "activations", "stable_rank_formulas", "scaling", "rules", "leaky_relu", "gaussian_moments",
        "affine_kernels.affine_kernel", "affine_kernels.time_constant", "deep_kernels.hermite_series",
        "features.early_phase", "graph_networks.layers", "learning_curves.sphere_spectrum", "log_spaced_steps",
        "losses.resolve_loss", "patch_kernels.patch_kernel", "assembled_networks.neuron",
        "parameterization.layer_scales",
    ],
    "they take what a run has computed, or say something about it": [
        "claims", "plotting", "diagnosis_plots.plot_diagnoses", "record_claim", "record_measured", "record_not_run",
        "require_finite",
    ],
    "they set something up, or read a file": [
        "announce", "check_parameters", "cifar10", "load_images", "devices.join", "use_precision", "precision.float64",
    ],
    "they do as `train` does, which is in it, and compare with it bit by bit": [
        "checkpoints.train_in_pieces", "devices.shard_samples",
    ],
    "it takes whole numbers for tokens, and tests/test_diagnosis_problem.py tries what it is given": ["diagnose"],
}  # fmt: skip


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


# Programs that take long to compile, of functions whose own tests see their values.
LONG = {
    "affine_baseline",
    "averaged_kernel",
    "gauss_newton",
    "infinite_width.convolutional",
    "infinite_width.residual",
    "linear_range",
    "loss_flow",
    "loss_range",
    "residual",
    "standard_parameterization",
    "symmetric",
}


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in names]


@pytest.mark.parametrize("name", marked(CALLS))
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


# What is refused of numbers of another kind, by the name that the error has: whatever else is refused is a fault.
REFUSED: dict[tuple[str, str], str] = {}


@pytest.mark.parametrize("name", marked(name for name in CALLS if name not in SLOW))
def test_numbers_of_every_kind(name):
    jaxtyping.config.update("jaxtyping_disable", True)
    wrong = []
    value = functools.cache(lambda counts: CALLS[name]((COUNTS if counts else QUARTERS).astype(float), np.ones(6)))
    try:
        for kind, (x, of) in KINDS.items():
            if x is COUNTS and name in NOT_OF_COUNTS:
                continue
            exact = value(x is COUNTS)
            try:
                with jax.numpy_dtype_promotion("standard"):
                    found = CALLS[name](of(x), of(np.ones(6)))
            except Exception as error:
                if not named(error, REFUSED.get((name, kind))):
                    wrong.append((kind, repr(error)[:200]))
                continue
            if (name, kind) in REFUSED:
                wrong.append((kind, "not refused"))
            if not np.allclose(np.asarray(found, float), exact, rtol=2e-4, atol=2e-5):
                wrong.append((kind, np.asarray(found, float).ravel()[:3], np.asarray(exact).ravel()[:3]))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert not wrong, wrong


def named(error, argument) -> bool:
    """Whether it is the ValueError that was to be expected."""
    return argument is not None and isinstance(error, ValueError) and str(error).startswith(f"{argument}: ")


EDGES = {
    "no samples": X64[:0],
    "one sample": X64[:1],
    "copies": np.repeat(X64[:3], 2, axis=0),
    "a row of zeros": np.concatenate([0 * X64[:1], X64[1:]]),
    "booleans": X64 > 0,
}
# Calls that use single rows of their inputs, or matrices made of them, for which an edge means something else.
OF_ROWS = {
    "output_hessian",
    "hessian_norm",
    "two_layer_hessian_norm",
    "model_hessian_norms",
    "kernel_change",
    "kernel_change_bound",
    "parameter_distance",
    "fit_power_law",
    "kernel_turn",
    "confidence_interval",
    "minimum_l1",
    "minimum_potential",
    "ridge_learning_curve",
    "vertex_influence",
    "mean_and_slope",
}
OF_PRODUCTS = {
    "stable_learning_rate",
    "kernel_dynamics",
    "kernel_dynamics.steps",
    "kernel_dynamics, traced",
    "nearest_linear_kernel",
}
# What comes of no samples where it is not an error: no rows.
EMPTY = {"norm_feature", "affine_features", "equal_norms", "symmetric", "with_output", "fully_connected"}
EMPTY |= {"standard_parameterization", "convolutional", "residual", "quadratic_features", "assemble", "two_layer"}
EMPTY |= {"independent_two_layer", "directed_acyclic", "diagonal_linear", "squared", "cross_entropy", "low_rank"}
EMPTY |= {"deep_kernel", "diagonal_kernel", "early_time_features", "hypentropy", "potential"}
NO_SAMPLES = {
    "spectral_norm": "x",
    "complement": "x",
    "schur_complement": "x",
    "stable_learning_rate": "kernel",
    "kernel_dynamics": "kernel",
    "kernel_dynamics.steps": "kernel",
    "kernel_dynamics, traced": "kernel",
    "nearest_linear_kernel": "kernel",
    "affine_share": "features",
    "affine_baseline": "features",
    "stable_rank": "weights",
    "normalized_margins": "weights",
}
AT_THE_EDGE = {
    ("train, momentum", "one sample"): "batch_size",
    ("early_time_model", "one sample"): "x",
    ("estimate_trace_sigma_squared", "one sample"): "x",
    ("input_statistics", "one sample"): "x",
    ("affine_share", "one sample"): "features",
    ("affine_baseline", "one sample"): "features",
    ("equal_norms", "a row of zeros"): "x",
    ("quadratic_features", "a row of zeros"): "x",
    ("quadratic_features", "booleans"): "x",
    ("equal_norms", "booleans"): "x",
    ("tabulated_kernel", "a row of zeros"): "x",
    ("tabulated_kernel", "booleans"): "x",
}
ON_EDGES = [name for name in CALLS if name not in SLOW | OF_ROWS]


# Other shapes are other programs, which take minutes to compile.
QUICK = ("no samples", "a row of zeros")


@pytest.mark.parametrize(
    "edge", [edge if edge in QUICK else pytest.param(edge, marks=pytest.mark.slow) for edge in EDGES]
)
@pytest.mark.parametrize("name", marked(ON_EDGES))
def test_inputs_at_the_edge(name, edge):
    """In single precision the value that float64 has, finite; or the refusal that is listed."""
    if edge == "booleans" and name in OF_PRODUCTS:
        pytest.skip("a product of booleans is no kernel")
    x, y = EDGES[edge], np.ones(len(EDGES[edge]))
    expected = AT_THE_EDGE.get((name, edge)) or (NO_SAMPLES.get(name, "x") if edge == "no samples" else None)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with jax.numpy_dtype_promotion("standard"):
            if edge == "no samples" and name in EMPTY:
                assert len(CALLS[name](x, y)) == 0
                return
            if expected is not None:
                with pytest.raises(ValueError, match=f"^{expected}: "):
                    CALLS[name](x, y)
                return
            exact = np.asarray(CALLS[name](x, y), float)
            with jax.enable_x64(False):
                single = x if x.dtype == bool else x.astype(np.float32)
                found = np.asarray(CALLS[name](single, y.astype(np.float32)), float)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert exact.size and np.all(np.isfinite(exact))
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-4)
