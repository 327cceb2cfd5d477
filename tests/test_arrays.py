import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime._arrays import floating, host_random, real, single
from refusals import refused


@pytest.mark.parametrize("key", [jax.random.key(5), jax.random.PRNGKey(5), np.asarray(jax.random.PRNGKey(5))])
def test_numpy_s_numbers_come_from_keys_of_either_kind(key):
    np.testing.assert_array_equal(host_random(key).normal(size=3), np.random.default_rng([0, 5]).normal(size=3))
    np.testing.assert_array_equal(
        host_random(key, 1, 2).normal(size=3), np.random.default_rng([0, 5, 1, 2]).normal(size=3)
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float8_e4m3fn", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "int8"),
        ("bool", "bool"),
    ],
)
def test_halves_become_single_and_nothing_else_changes(given, expected):
    found = single(jnp.ones(2).astype(given))
    assert found.dtype == expected and isinstance(found, jax.Array)
    np.testing.assert_array_equal(found, np.ones(2))


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ("int8", None, "float64"),
        ("bool", None, "float64"),
        ("int8", jnp.float32, "float32"),
        ("float16", None, "float32"),
        ("float16", jnp.float64, "float64"),
        ("float32", None, "float32"),
        ("float32", jnp.float64, "float64"),
        ("float64", jnp.float32, "float64"),
    ],
)
def test_numbers_become_floating_and_lose_no_bits(given, dtype, expected):
    assert real("x", jnp.ones(2).astype(given), dtype).dtype == expected  # the tests have JAX in float64


def test_what_is_floating_already_stays_itself():
    for array in (np.ones(2), np.ones(2, np.float32), jnp.ones(2)):
        assert floating("x", array) is array
    for value, expected in ((np.ones(2, np.float16), "float32"), (np.ones(2, np.int16), "float64"), (0.5, "float64")):
        assert floating("x", value).dtype == expected
    with refused("x", saying="complex"):
        floating("x", np.ones(2) * 1j)
