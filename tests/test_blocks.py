"""How many samples at once suit a device."""

import functools

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _blocks

X = np.ones((9, 5), np.float32)


def test_bytes_of_a_sample_are_those_of_what_is_computed():
    w = jnp.ones((5, 16), jnp.float32)
    hidden = lambda x: jnp.sum(
        jnp.tanh(x @ (2 * w)), axis=1
    )  # 16 before, 16 after tanh, and the sum; 2 w is no sample's
    assert _blocks.bytes_per_sample(hidden, X) == 4 * (16 + 16 + 1)
    assert _blocks.bytes_per_sample(jax.jit(hidden), X) == 4 * (16 + 16 + 1)


@pytest.mark.parametrize(
    "network", [et.two_layer(5, 64, "erf"), et.symmetric(et.fully_connected(5, 64, "relu", depth=3))]
)
def test_wider_networks_take_more(network):
    f = functools.partial(network.apply, network.init(jax.random.key(0)))
    assert _blocks.bytes_per_sample(f, X.astype(float)) >= 64 * 8


def test_on_a_cpu_the_block_is_fixed_and_on_a_gpu_a_share_of_its_memory(monkeypatch):
    f = lambda x: jnp.tanh(x)  # 20 bytes a sample
    assert _blocks.fitting_block(f, X) == _blocks._CPU_BLOCK
    monkeypatch.setattr(_blocks, "_device_memory", lambda: 64 * 20 * 1000)
    assert _blocks.fitting_block(f, X) == 1000
    monkeypatch.setattr(_blocks, "_device_memory", lambda: 10)
    assert _blocks.fitting_block(f, X) == 1


def test_training_by_the_block_of_a_small_gpu_is_the_same(monkeypatch):
    network = et.two_layer(5, 8, "erf")
    start, x, y = network.init(jax.random.key(0)), np.random.default_rng(0).normal(size=(9, 5)), np.ones(9)
    run = lambda: et.train(network.apply, start, x, y, learning_rate=0.1, num_steps=5, record_steps=(5,), x_test=2 * x)
    whole = run()
    monkeypatch.setattr(_blocks, "_device_memory", lambda: 64 * 600)
    assert 1 <= _blocks.fitting_block(functools.partial(network.apply, start), x) < 9
    parts = run()
    np.testing.assert_allclose(parts.test_outputs, whole.test_outputs, rtol=1e-12)
    np.testing.assert_allclose(parts.train_loss, whole.train_loss, rtol=1e-12)
