"""Training in pieces: whatever ends it, the run is the one that nothing ended."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from earlytime import _checkpoint_files, checkpoints
from earlytime._checkpoint_files import Checkpoints
from earlytime._shards import Shards
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

X = jax.random.normal(jax.random.key(0), (24, 3))
Y = jnp.sign(X[:, 0])
NETWORK = et.two_layer(3, 4, "erf")
START = NETWORK.init(jax.random.key(1))
RECORD = (0, 3, 5, 20)


def in_pieces(folder, num_steps=20, *, every=5, apply_fn=NETWORK.apply, params=START, x=X, y=Y, record=RECORD, **how):
    record_steps = [step for step in record if step <= num_steps]
    how = {"learning_rate": 1.0, **how} if "optimizer" not in how else how
    return checkpoints.train_in_pieces(
        folder, apply_fn, params, x, y, every=every, num_steps=num_steps, record_steps=record_steps, **how
    )


def assert_same(here, there):
    assert jax.tree.structure(here) == jax.tree.structure(there)
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there)):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.weak_type == b.weak_type
        assert np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            {"learning_rate": 1.0, "x_test": X[:5], "y_test": Y[:5], "observe": lambda p: p.v}, marks=pytest.mark.slow
        ),
        pytest.param({"learning_rate": 1.0, "momentum": 0.5, "batch_size": 7, "key": jax.random.key(2)}, id="batches"),
        pytest.param({"optimizer": optax.adam(0.01)}, marks=pytest.mark.slow),
        # A random key in the optimizer's state, of a kind that is not the usual one.
        pytest.param({"optimizer": optax.noisy_sgd(0.1, key=jax.random.key(3, impl="rbg"))}, id="keys"),
    ],
)
def test_a_run_in_pieces_is_the_run(tmp_path, how):
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
        whole = et.train(NETWORK.apply, START, X, Y, num_steps=20, record_steps=RECORD, **how)
        in_pieces(tmp_path, 10, **how)
        assert_same(in_pieces(tmp_path, **how), whole)
        assert_same(in_pieces(tmp_path, **how), whole)  # from the files alone


def test_what_ends_between_two_checkpoints_goes_on_from_the_first(tmp_path, monkeypatch):
    record = (0, 5, 10, 12, 20)  # some of them where a piece ends
    save, fresh = Checkpoints.save, tmp_path / "fresh"

    def full(kept, step, arrays):
        if step == 15:
            raise OSError("disk full")
        save(kept, step, arrays)

    with monkeypatch.context() as once:
        once.setattr(Checkpoints, "save", full)
        with pytest.raises(OSError, match="disk full"):
            in_pieces(tmp_path / "ended", record=record)
    of_steps = lambda folder: sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    assert of_steps(tmp_path / "ended") == [5, 10]  # each at a multiple of `every`, and the last two
    whole = et.train(NETWORK.apply, START, X, Y, learning_rate=1.0, num_steps=20, record_steps=record)
    assert_same(in_pieces(tmp_path / "ended", record=record), whole)
    in_pieces(fresh, 12, record=record)
    assert of_steps(fresh) == [10, 12]
    assert_same(in_pieces(fresh, record=record), whole)
    assert of_steps(fresh) == [15, 20]


def test_what_is_restored_lies_where_the_samples_do(tmp_path, monkeypatch):
    mesh = jax.make_mesh((1,), ("samples",))
    spread = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
    monkeypatch.setattr(_checkpoint_files, "shards_of", lambda x: Shards(mesh, "samples") if x is X else None)
    shape = lambda *sides: jax.ShapeDtypeStruct(sides, jnp.float32, weak_type=True)
    rows = {"train_outputs": shape(9, 24, 2), "test_outputs": shape(9, 24), "observed": {"v": shape(9, 24)}}
    example = {"state": shape(24), "rows": rows, "limit": shape()}

    def target(*samples):
        found = Checkpoints(tmp_path, example, samples=samples, about={})._target(3)
        assert [leaf.shape for leaf in jax.tree.leaves(found["rows"])] == [(3, 24), (3, 24), (3, 24, 2)]
        assert all(leaf.weak_type and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))
        return jax.tree.map(lambda leaf: leaf.sharding, found)

    first = target(X, None)
    assert first["rows"] == {
        "train_outputs": spread(None, "samples"), "test_outputs": spread(), "observed": {"v": spread()}
    }  # fmt: skip
    assert first["state"] == first["limit"] == spread()
    assert target(X, X)["rows"]["test_outputs"] == spread(None, "samples")
    assert target(X[:23], X)["rows"]["train_outputs"] == spread()
    alone = SingleDeviceSharding(jax.local_devices()[0])
    assert all(sharding == alone for sharding in jax.tree.leaves(target(X[:23], None)))


def test_nothing_in_a_checkpoint_is_run_and_another_run_is_refused(tmp_path, monkeypatch):
    in_pieces(tmp_path, 5, x_test=X[:3])

    def refuse(*_, **__):
        raise AssertionError("a pickle is read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    run = in_pieces(tmp_path, x_test=X[:3])
    assert run.state.step == 20
    changes = {
        "x": {"x": X.at[3, 1].add(1e-7)},
        "y": {"y": Y.at[0].set(2.0)},
        "params": {"params": START._replace(w=START.w.at[0, 0].add(1e-9))},
        "learning_rate": {"learning_rate": 1.1},
        "momentum": {"momentum": 0.1},
        "loss": {"loss": "cross_entropy"},
        "apply_fn": {"apply_fn": lambda p, x: NETWORK.apply(p, x)},
        "x_test": {"x_test": X[1:4]},
        "record_steps": {"record": (0, 3, 6, 20)},
        "num_steps": {"num_steps": 10},
    }
    for name, change in changes.items():
        with pytest.raises(ValueError, match=f"^{name}: "):
            in_pieces(tmp_path, **{"x_test": X[:3], **change})
    with pytest.raises(ValueError, match="^momentum: "):  # one that was not given before
        in_pieces(tmp_path, x_test=X[:3], momentum=0.0)


def test_arguments_are_checked_first(tmp_path):
    for name, change in {"every": {"every": 0}, "state": {"state": None}, "record_steps": {"record": ()}}.items():
        with pytest.raises(ValueError, match=f"^{name}: "):
            in_pieces(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_without_orbax_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match="pip install orbax-checkpoint"):
        in_pieces(tmp_path)


@pytest.mark.parametrize(("rate", "before"), [(1e4, 0), (10.0, 5)])
def test_a_run_that_diverged_keeps_saying_when_and_why(tmp_path, rate, before):
    how = {"learning_rate": rate, "num_steps": 20, "record": (20,)}
    run, again = in_pieces(tmp_path, **how), in_pieces(tmp_path, **how)
    assert_same(run, again)
    assert before < run.diverged_at <= before + 5
    params = et.train(NETWORK.apply, START, X, Y, learning_rate=rate, num_steps=before, record_steps=(before,)).params
    limit = et.kernels.stable_learning_rate(et.tangent_kernel(NETWORK.apply, params, X).dense())
    np.testing.assert_allclose(run.stable_learning_rate, limit, rtol=1e-9)


def test_checksums_see_every_bit_and_every_place():
    described = lambda value: checkpoints.described(len, value=value)
    arrays = [
        X,
        X.astype(jnp.float32),
        X.T,
        X[::-1],
        X[:, ::-1],
        X.at[0, 0].add(1e-15),
        Y > 0,
        Y < 0,
        Y.astype(jnp.int8),
    ]
    arrays += [jax.random.key(0), jax.random.key(1), 1.0, 2.0, 1, {"a": X[0], "b": X[1]}, {"a": X[1], "b": X[0]}]
    assert len({str(described(each)) for each in arrays}) == len(arrays)
    assert described(np.asarray(X)) == described(X)
    for kind, num_bits in (("uint32", 32), ("uint8", 8)):
        zeros = np.zeros((2, 3), kind)
        for place in np.ndindex(zeros.shape):
            for bit in range(num_bits):
                other = zeros.copy()
                other[place] = 1 << bit
                assert described(other) != described(zeros), (kind, place, bit)


def test_what_holds_a_function_is_described_by_its_name():
    described = lambda value: checkpoints.described(len, value=value)["value"]
    assert described((jnp.tanh, 0.5)) == described((0.5, jnp.tanh)) == "builtins.tuple"
    assert described(np.tanh) != described(optax.sgd)


@pytest.mark.slow
def test_kills_at_any_moment_change_no_bit(tmp_path):
    program, random = Path(__file__).parent / "devices" / "long_run.py", np.random.default_rng(0)

    def start(folder):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen([sys.executable, str(program), str(tmp_path / folder)], env=environment)

    def last_step(folder):
        names = [path.name for path in (tmp_path / folder).glob("*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    assert start("whole").wait(timeout=600) == 0
    seen = [0]  # the last checkpoint at every kill
    for _ in range(6):
        with start("killed") as process:
            while last_step("killed") == seen[-1] and process.poll() is None:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.3))  # while the next piece runs or is written
            process.kill()  # SIGKILL
        seen.append(last_step("killed"))
    assert start("killed").wait(timeout=600) == 0
    assert len(set(seen)) == len(seen) and seen[-1] < 3000, f"killed after checkpoints {seen}"
    whole, killed = (np.load(tmp_path / folder / "run.npz") for folder in ("whole", "killed"))
    assert set(whole) == set(killed) and all(np.array_equal(whole[name], killed[name]) for name in whole)
