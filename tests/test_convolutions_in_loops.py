"""Networks with XLA's convolutions, whose gradients are slow in loops on a CPU: they get loops in Python."""

import dataclasses

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from earlytime import _networks, gradient_descent, spectral

X = np.random.default_rng(0).normal(size=(9, 4, 4, 2))
Y = np.random.default_rng(1).normal(size=9)
W = {"filters": jax.random.normal(jax.random.key(0), (3, 3, 2, 3)), "readout": jnp.arange(3.0)}


def convolve(params, x):
    hidden = jax.lax.conv_general_dilated(
        x, params["filters"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(hidden).mean(axis=(1, 2)) @ params["readout"]


def flat(params, x):
    return jnp.tanh(x.reshape(len(x), -1)[:, :3]) @ params["readout"]


def test_only_networks_with_convolutions_are_told():
    for apply_fn, expected in ((convolve, True), (jax.jit(convolve), True), (flat, False)):
        trained, rest = _networks.partition(W)
        assert _networks.slow_in_loops(apply_fn, trained, rest, jnp.asarray(X)) is expected
    trained, rest = _networks.partition({"w": W, "scale": np.array(2)})
    scaled = lambda params, x: convolve(params["w"], x) * params["scale"].astype(float)
    assert _networks.slow_in_loops(scaled, trained, rest, jnp.asarray(X))
    jax.jit(lambda x: np.testing.assert_equal(_networks.slow_in_loops(scaled, trained, rest, x), False))(X)


@pytest.mark.parametrize(
    "how",
    [
        {"learning_rate": 0.3, "momentum": 0.5},
        {"learning_rate": {"filters": 0.5, "readout": 0.0}, "batch_size": 4, "key": jax.random.key(2)},
        {"optimizer": optax.sgd(0.2)},
    ],
    ids=["momentum", "batches, a frozen layer", "an optimizer"],
)
def test_training_is_the_same_run(how, monkeypatch):
    options = {
        "num_steps": 6,
        "record_steps": (0, 2, 5),
        "x_test": X[:4] + 1,
        "y_test": Y[:4],
        "observe": lambda params: params["readout"],
    } | how
    found = et.train(convolve, W, X, Y, **options)
    part = et.train(convolve, W, X, Y, **options | {"num_steps": 2, "record_steps": (0, 2)})
    rest = et.train(convolve, W, X, Y, **options | {"state": part.state, "record_steps": (5,)})
    monkeypatch.setattr(gradient_descent, "slow_in_loops", lambda *_: False)
    expected = et.train(convolve, W, X, Y, **options)
    same = lambda a, b: jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-9), a, b)
    same(found._replace(state=None), expected._replace(state=None))
    same(found.state, expected.state)
    same(rest.params, expected.params)
    np.testing.assert_allclose(rest.test_loss, expected.test_loss[2:], rtol=1e-9)


def test_divergence_is_seen():
    found = et.train(convolve, W, X, Y, learning_rate=1e6, num_steps=5, record_steps=(0, 5))
    assert 0 < found.diverged_at <= 5 and np.isfinite(found.stable_learning_rate)


def test_only_operators_with_convolutions_are_told(monkeypatch):
    told = spectral._is_slow_in_loops
    hessian, flat_hessian = (et.curvature.output_hessian(apply_fn, W, X[0]) for apply_fn in (convolve, flat))
    u = jnp.zeros(hessian.shape[0])
    assert (
        told(hessian, u) and not told(flat_hessian, u) and not told(dataclasses.replace(hessian, cheap_dense=True), u)
    )
    jax.jit(lambda u: np.testing.assert_equal(told(hessian, u), False))(u)
    used = []
    in_python = spectral._lanczos_in_python
    monkeypatch.setattr(spectral, "_lanczos_in_python", lambda *given: (used.append(given), in_python(*given))[1])
    spectral.spectral_norm(flat_hessian, key=jax.random.key(1), num_matvecs=2)
    assert not used
    spectral.spectral_norm(hessian, key=jax.random.key(1), num_matvecs=2)
    assert used


def test_norms_are_those_of_the_matrix(monkeypatch):
    hessian = et.curvature.output_hessian(convolve, W, X[0])
    found = et.hessian_norm(convolve, W, X[0], key=jax.random.key(1))
    expected = np.abs(np.linalg.eigvalsh(hessian.dense())).max()
    assert found.value == pytest.approx(expected, rel=1e-8)
    monkeypatch.setattr(spectral, "_is_slow_in_loops", lambda *_: False)
    in_a_loop = et.hessian_norm(convolve, W, X[0], key=jax.random.key(1))
    assert in_a_loop.value == pytest.approx(float(found.value), rel=1e-12)
