import earlytime as et
import jax
import numpy as np
import pytest
import scipy.special
from refusals import refused

KEY = jax.random.key(0)
SPREAD = np.linspace(0.2, 1.8, 6)


@pytest.mark.parametrize("entries", ["gaussian", "rademacher", "uniform"])
@pytest.mark.parametrize("rotate", [False, True])
def test_covariance_is_the_one_asked_for(entries, rotate):
    x = np.asarray(et.sample_inputs(KEY, 200_000, 6, spectrum=SPREAD, entries=entries, rotate=rotate))
    covariance = x.T @ x / len(x)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), SPREAD, atol=0.02)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.02)
    off_diagonal = np.abs(covariance - np.diag(np.diag(covariance))).max()
    assert (off_diagonal > 0.05) == rotate


def test_entries_have_their_law():
    signs = et.sample_inputs(KEY, 50, 4, entries="rademacher")
    assert set(np.unique(signs)) == {-1.0, 1.0}
    uniform = np.asarray(et.sample_inputs(KEY, 5000, 4, entries="uniform"))
    assert np.abs(uniform).max() <= np.sqrt(3) and abs(uniform.var() - 1) < 0.02


def test_rotation_is_the_same_for_every_key():
    covariances = []
    for seed in (0, 1):
        x = np.asarray(et.sample_inputs(jax.random.key(seed), 200_000, 6, spectrum=SPREAD, rotate=True))
        covariances.append(x.T @ x / len(x))
    np.testing.assert_allclose(*covariances, atol=0.03)


def test_rotation_makes_the_norm_of_sign_inputs_vary():
    norms = lambda rotate: np.linalg.norm(
        et.sample_inputs(KEY, 100, 6, spectrum=SPREAD, entries="rademacher", rotate=rotate), axis=1
    )
    assert norms(False).std() < 1e-12 and norms(True).std() > 0.1


def test_one_teacher_labels_training_and_test_set():
    x = et.sample_inputs(KEY, 30, 4)
    y = et.teacher_labels(jax.random.key(1), x)
    np.testing.assert_array_equal(y[10:], et.teacher_labels(jax.random.key(1), x[10:]))
    assert set(np.unique(y)) <= {-1.0, 1.0} and 3 < (np.asarray(y) > 0).sum() < 27
    np.testing.assert_array_equal(et.teacher_labels(jax.random.key(1), -x), -y)  # erf is odd


def test_task_under_jit_and_vmap():
    """Inputs and labels of one task are drawn together, and the first rows are to train on."""

    @jax.jit
    @jax.vmap
    def both(key):
        key_x, key_teacher = jax.random.split(key)
        x = et.sample_inputs(key_x, 25, 4, spectrum=SPREAD[1:5])
        return et.sample_task(key, 5, 20, 4, spectrum=SPREAD[1:5]), x, et.teacher_labels(key_teacher, x)

    task, x, y = both(jax.random.split(KEY, 3))
    np.testing.assert_allclose(np.concatenate([task.x, task.x_test], axis=1), x, rtol=1e-12)
    np.testing.assert_array_equal(np.concatenate([task.y, task.y_test], axis=1), y)
    assert not np.allclose(x[0], x[1])


@pytest.mark.parametrize(
    "name, change",
    [
        ("num_samples", dict(num_samples=0)),
        ("num_samples", dict(num_samples=2.5)),
        ("dim", dict(dim=0)),
        ("entries", dict(entries="cauchy")),
        ("spectrum", dict(spectrum="flat")),
        ("spectrum", dict(spectrum=np.ones(4))),
        ("spectrum", dict(spectrum=np.full(3, 1.01))),
        ("spectrum", dict(spectrum=np.array([4.0, -1.0, 0.0]))),
        ("spectrum", dict(spectrum=np.array([3.0, np.nan, 0.0]))),
    ],
)
def test_bad_arguments_are_named(name, change):
    arguments = dict(num_samples=4, dim=3) | change
    with refused(name):
        et.sample_inputs(KEY, arguments.pop("num_samples"), arguments.pop("dim"), **arguments)


def test_equal_norms_keep_directions():
    x = et.sample_inputs(jax.random.key(0), 5, 3)
    scaled = et.inputs.equal_norms(x)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), np.sqrt(3), rtol=1e-12)
    np.testing.assert_allclose(
        scaled / np.linalg.norm(scaled, axis=1, keepdims=True), x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-12
    )


def test_equal_norms_of_inputs_with_zeros_and_of_traced_ones():
    x = np.array([[3.0, 0.0], [0.0, -4.0], [3.0, 4.0]])
    expected = np.sqrt(2) * np.array([[1.0, 0.0], [0.0, -1.0], [0.6, 0.8]])
    np.testing.assert_allclose(et.inputs.equal_norms(x), expected)
    np.testing.assert_allclose(jax.jit(et.inputs.equal_norms)(x), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_spectrum_s_own_precision_is_not_that_of_its_root(dtype):
    spectrum = np.array([3, 2, 1, 0, 0, 0])
    found = et.sample_inputs(KEY, 5, 6, spectrum=spectrum.astype(dtype))
    np.testing.assert_array_equal(found, et.sample_inputs(KEY, 5, 6, spectrum=spectrum.astype(float)))


def test_a_trace_may_be_off_by_rounding_in_single_precision():
    assert et.sample_inputs(KEY, 2, 100, spectrum=np.full(100, 1 + 5e-5)).shape == (2, 100)
    with refused("spectrum"):
        et.sample_inputs(KEY, 2, 100, spectrum=np.full(100, 1 - 2e-4))


def test_a_teacher_that_says_nothing_says_plus_one():
    assert et.teacher_labels(KEY, np.zeros((1, 4))).tolist() == [1.0]


def test_random_labels_are_signs_of_mean_zero():
    y = np.asarray(et.inputs.random_labels(jax.random.key(3), 10_000))
    assert set(y) == {-1.0, 1.0} and abs(y.mean()) < 0.05
    with refused("num_samples"):
        et.inputs.random_labels(jax.random.key(3), 0)


def test_the_teacher_s_layers_are_drawn_from_their_own_keys():
    x = np.asarray(et.sample_inputs(jax.random.key(0), 30, 7))
    key_w, key_v = jax.random.split(jax.random.key(1))
    w, v = jax.random.normal(key_w, (5, 7)), jax.random.normal(key_v, (5,))
    expected = np.sign(scipy.special.erf(x @ w.T / np.sqrt(7)) @ v)
    np.testing.assert_array_equal(et.teacher_labels(jax.random.key(1), x), expected)


@pytest.mark.parametrize("entries", ["gaussian", "rademacher", "uniform"])
def test_inputs_are_the_numbers_of_their_shape(entries):
    law = {
        "gaussian": jax.random.normal,
        "rademacher": lambda key, shape: jax.random.rademacher(key, shape, dtype=float),
        "uniform": lambda key, shape: jax.random.uniform(key, shape, minval=-np.sqrt(3), maxval=np.sqrt(3)),
    }[entries]
    np.testing.assert_allclose(et.sample_inputs(KEY, 13, 10, entries=entries), law(KEY, (13, 10)), rtol=1e-12)


def test_rows_of_zeros_have_no_direction():
    with refused("x"):
        et.inputs.equal_norms(np.array([[1.0, 2.0], [0.0, 0.0]]))
