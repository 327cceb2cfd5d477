"""On 8 devices: each call gives what it gives on one, and no device ever holds all samples.

With the word `all` after it, in all its forms; else in a few, which take less time to compile.
"""

import re
import sys

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
from earlytime.chunks import Chunks
from jax.sharding import Mesh, NamedSharding, PartitionSpec

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
assert jax.device_count() == 8

EVERYTHING = sys.argv[1:] == ["all"]
N, DIM = 8 * 40, 4
KEY = jax.random.key(0)
NETWORK = et.two_layer(DIM, 8, "erf")
PARAMS = NETWORK.init(jax.random.key(1))
TASK = et.sample_task(jax.random.key(2), N, 16, DIM)
SPREAD = et.devices.shard_samples(TASK)
TRAVELS = r" = (\S.*?) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


def close(here, there, tolerance=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), here, there)


def is_spread(array, axis=0):
    shares = {shard.data.shape[axis] for shard in array.addressable_shards}
    return shares == {array.shape[axis] // 8} and len(array.sharding.device_set) == 8


def largest_that_travels(program):
    """The most numbers that a collective operation of a compiled program moves at once."""
    found = [shape for line in re.findall(TRAVELS, program.as_text()) for shape in re.findall(r"\[([\d,]*)\]", line)]
    return max((int(np.prod([int(n) for n in shape.split(",") if n])) for shape in found), default=0)


def train(task, **how):
    settings = {"learning_rate": 1.0, "num_steps": 12, "record_steps": (0, 5, 12), **how}
    y_test = {"y_test": task.y_test} if how.get("loss") != "cross_entropy" else {}
    # Of samples that are all 0, as those that fill up a block, it has a gradient.
    shifted = lambda params, x: NETWORK.apply(params, x + 1)
    return et.train(shifted, PARAMS, task.x, task.y, x_test=task.x_test, **y_test, **settings)


def test_training():
    padded_blocks = {"block_size": 7}  # several on each device
    uneven_batches = {"momentum": 0.5, "batch_size": 30, "key": KEY}
    diverging = {"learning_rate": 1e3}  # and rounding with it
    for how in (uneven_batches, padded_blocks, diverging) if EVERYTHING else (uneven_batches,):
        here, there = train(SPREAD, **how), train(TASK, **how)
        fits = int(there.diverged_at) < 0
        close(*((here, there) if fits else (here.divergence, there.divergence)))
        assert is_spread(here.train_outputs, 1) and is_spread(here.test_outputs, 1)
    if not EVERYTHING:
        return
    assert not fits and np.isfinite(here.stable_learning_rate)
    close(*(train(task, loss="cross_entropy") for task in (SPREAD, TASK)))
    classes = jax.tree.map(lambda y: (y > 0).astype(int), (TASK.y, SPREAD.y))
    both = lambda p, x: jnp.stack([NETWORK.apply(p, x), -NETWORK.apply(p, x)], axis=1)
    how = {"learning_rate": 1.0, "num_steps": 5, "record_steps": (5,), "loss": "cross_entropy"}
    close(*(et.train(both, PARAMS, x, y, **how).train_loss for x, y in zip((TASK.x, SPREAD.x), classes)))
    for bad, message in ((SPREAD.y.at[3].set(jnp.nan), "y: expected finite"), (2 * SPREAD.y, "y: expected labels")):
        refused(lambda: et.train(NETWORK.apply, PARAMS, SPREAD.x, bad, **how), message)
    mixing = lambda p, x: NETWORK.apply(p, x - jnp.mean(x, axis=0, keepdims=True))
    refused(lambda: et.train(mixing, PARAMS, SPREAD.x, SPREAD.y, **how), "apply_fn: expected outputs that depend")


def refused(call, message):
    try:
        call()
    except ValueError as error:
        assert str(error).startswith(message), error
    else:
        raise AssertionError(f"not refused: {message}")


def test_training_collects_nothing():
    for how, most in (({}, 8 * DIM), ({"batch_size": 16, "key": KEY}, 8 * DIM + 16 * DIM)):
        for record in ({}, {"summarize": jnp.mean}) if EVERYTHING else ({},):
            seen = traced_programs(lambda: train(SPREAD, num_steps=2, record_steps=(0, 2), **how, **record))
            assert max(map(largest_that_travels, seen)) <= most
    assert max(map(largest_that_travels, seen)) > 0  # and it does find what travels


def traced_programs(call):
    """The programs of `train` that a call compiles."""
    from earlytime import gradient_descent

    seen, program = [], gradient_descent._train

    def looked_at(*args, **kwargs):
        seen.append(program.lower(*args, **kwargs).compile())
        return program(*args, **kwargs)

    gradient_descent._train = looked_at
    try:
        call()
    finally:
        gradient_descent._train = program
    return seen


def some_kernels(x):
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=DIM, trace_sigma_squared=4.0)
    closed = et.two_layer_kernel(PARAMS, x, "erf", trained="both")
    several = et.tangent_kernel(lambda p, x: jnp.stack([x @ p, x @ p**2], axis=1), jnp.ones(DIM), x)
    return [et.tangent_kernel(NETWORK.apply, PARAMS, x), closed - et.linear_kernel(features, x), several]


def test_kernels():
    draw = lambda key: et.sample_inputs(key, 20, DIM)
    keys = jax.random.split(KEY, 16)
    chunks, spread_chunks = (Chunks(draw, each) for each in (keys, et.devices.shard_samples(keys)))
    two_axes = Mesh(np.array(jax.devices()).reshape(2, 4), ("one", "two"))
    by_hand = jax.device_put(TASK.x, NamedSharding(two_axes, PartitionSpec(("two", "one"))))
    pairs = ((TASK.x, by_hand), (chunks.dense(), spread_chunks), (TASK.x, SPREAD.x))
    few = ((0, 0), (1, 1))
    for i, which in [(i, which) for i in range(3) for which in range(3)] if EVERYTHING else few:
        there, here = (some_kernels(x)[which] for x in pairs[i])
        u = jnp.cos(jnp.arange(here.shape[1], dtype=float))
        program = jax.jit(lambda kernel, u: kernel.product(u)).lower(here, u).compile()
        assert 0 < largest_that_travels(program) <= 8 * DIM
        product = program(here, u)
        assert is_spread(product), product.sharding
        close(product, there.matvec(u))
        if EVERYTHING:
            close(*(et.spectral_norm(kernel, key=KEY, num_matvecs=8) for kernel in (here, there)), tolerance=1e-8)
            close(here.matvec(u), product)
            close(here.dense(), there.dense())
    if not EVERYTHING:
        return
    columns = [et.tangent_kernel(NETWORK.apply, PARAMS, *pair) for pair in ((TASK.x, TASK.x_test), SPREAD[::2])]
    close(*(kernel.matvec(jnp.arange(16.0)) for kernel in columns))
    dynamics = [
        et.krylov.krylov_dynamics(et.tangent_kernel(NETWORK.apply, PARAMS, x), y, learning_rate=1.0, num_matvecs=6)
        for x, y in (TASK[:2], SPREAD[:2])
    ]
    close(*(each.coefficients([1, 10]) for each in dynamics), tolerance=1e-8)
    close(*(et.curvature.gauss_newton(NETWORK.apply, PARAMS, *part[:2]).dense() for part in (TASK, SPREAD)))


def a_run(key, own, x, *, width):
    network = et.two_layer(DIM, width, "erf")
    y = own * jnp.sign(x[:, 0])
    run = et.train(network.apply, network.init(key), x, y, learning_rate=1.0, num_steps=3, record_steps=(0, 3))
    return run.without_params(), key


def test_seeds():
    for num_seeds, batch_size in ((11, None), (11, 1), (20, 2), (3, None)) if EVERYTHING else ():
        own = np.linspace(1, 2, num_seeds)
        seeds = lambda: et.over_seeds(
            a_run, 0, num_seeds, TASK.x, static={"width": 8}, per_seed=own, batch_size=batch_size
        )
        here, keys = seeds()
        with jax.default_device(jax.devices()[0]):
            there, same_keys = seeds()
        assert here.train_loss.shape == (num_seeds, 2) and np.array_equal(*map(jax.random.key_data, (keys, same_keys)))
        close(here, there)
    where = lambda key, x: jax.lax.axis_index("seeds") + 0 * x  # which device has a seed
    assert set(et.over_seeds(where, 0, 16, np.zeros((), np.int32)).tolist()) == set(range(8))
    refused(lambda: et.over_seeds(a_run, 0, 2, SPREAD.x, static={"width": 8}), "args: expected data that every device")


def test_samples_that_cannot_be_spread():
    refused(
        lambda: et.devices.shard_samples(np.ones((9, 2))), "arrays: expected a first axis that the 8 devices divide"
    )


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
print("as on one device")
