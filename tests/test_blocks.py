"""How many samples at once suit a device."""

import functools
import types

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _blocks
from earlytime._chunks import Chunks
from two_devices import TwoDevices

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


def test_where_loops_are_slow_a_block_fills_a_gigabyte():
    assert _blocks.fitting_block(lambda x: jnp.tanh(x), X, whole=True) == 2**30 // 20
    assert _blocks.fitting_block(lambda x: x, X, whole=True) == 2**30  # and what costs nothing divides by no zero
    assert _blocks.fitting_block(lambda x: jnp.tanh(jnp.tile(x, (1, 2**18))), X, whole=True) >= _blocks._CPU_BLOCK


def test_a_gpu_says_how_much_memory_it_has(monkeypatch):
    for stats, expected in ((None, 8 * 2**30), ({}, 8 * 2**30), ({"bytes_limit": 640}, 640)):
        gpu = types.SimpleNamespace(platform="gpu", memory_stats=lambda stats=stats: stats)
        with monkeypatch.context() as patched:
            patched.setattr(jax, "devices", lambda gpu=gpu: [gpu])
            assert _blocks._device_memory() == expected
            assert _blocks.fitting_block(lambda x: x, X) == expected // 64
    assert _blocks._device_memory() is None


def test_primitives_are_found_wherever_they_are():
    def hidden(x):
        branch = lambda x: jax.lax.cond(x.sum() > 0, jnp.tanh, jnp.sin, x)
        return jax.lax.scan(lambda c, _: (jax.jit(branch)(c), None), x, length=3)[0] + 1

    jaxpr = jax.make_jaxpr(hidden)(X).jaxpr
    found = {name: _blocks.has_primitive(jaxpr, name) for name in ("tanh", "sin", "add", "cos", "mul")}
    assert found == {"tanh": True, "sin": True, "add": True, "cos": False, "mul": False}


@pytest.mark.parametrize(
    "block_size, sizes", [(20, [9]), (9, [9]), (8, [5, 5]), (5, [5, 5]), (4, [3, 3, 3]), (1, [1] * 9)]
)
def test_blocks_are_of_one_size(block_size, sizes):
    x, seen = np.arange(45.0).reshape(9, 5), set()
    found = _blocks.map_blocks(lambda block: (seen.add(len(block)), 2 * block)[1], jnp.asarray(x), block_size)
    np.testing.assert_array_equal(found, 2 * x)
    assert seen == set(sizes)
    total, count = _blocks.sum_blocks(
        lambda block, weights: (weights.astype(float) @ block[0] + 0 * block[1].sum(), jnp.sum(weights)),
        (jnp.asarray(x), jnp.ones(9)),
        block_size,
    )
    np.testing.assert_allclose(total, x.sum(axis=0))
    assert count == 9


@pytest.mark.parametrize("block_size", [2, 4, 100])
def test_chunks_are_blocks_as_they_are(block_size):
    """Whatever size is asked for."""
    x = Chunks(lambda key: jax.random.normal(key, (3, 2)), jax.random.split(jax.random.key(0), 4))
    y = jnp.arange(12.0)
    found = _blocks.sum_blocks(lambda block, weights: weights * block[1] @ block[0], (x, y), block_size)
    np.testing.assert_allclose(found, y @ x.dense(), rtol=1e-12)
    np.testing.assert_allclose(_blocks.map_blocks(lambda x: 2 * x, x, block_size), 2 * x.dense(), rtol=1e-12)


def test_each_device_works_by_blocks_on_its_part():
    devices = TwoDevices()
    x, weights, seen = jnp.arange(45.0).reshape(9, 5), jnp.arange(9.0), set()
    twice = lambda block: (seen.add(len(block)), 2 * block)[1]
    np.testing.assert_array_equal(_blocks.map_blocks(twice, x, 3, devices), 2 * x)
    assert seen == {2, 3}  # 5 as 3 + 3 with padding, 4 as 2 + 2
    total = lambda block, weights: (seen.add(len(block)), weights @ block)[1]
    found = _blocks.sum_blocks(total, x, 4, devices, weights)
    np.testing.assert_allclose(found, weights @ x)
    assert seen == {2, 3, 4}


def test_numpy_stays_numpy():
    table = np.ones((2, 3, 4))
    assert isinstance(_blocks.along(table, np.ones(4)), np.ndarray)
    assert _blocks.along(table, np.ones(4)).shape == (1, 1, 4) and _blocks.along(table, jnp.ones(4)).shape == (1, 1, 4)


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
