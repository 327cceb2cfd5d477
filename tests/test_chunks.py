"""Inputs that are drawn chunk by chunk give the kernels of the inputs themselves."""

import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.chunks import Chunks

NETWORK = et.two_layer(4, 8, "erf")


def some_chunks(num_chunks, size=50):
    draw = lambda key: et.sample_inputs(key, size, 4)
    return Chunks(draw, jax.random.split(jax.random.key(0), num_chunks))


def kernels(x):
    """Of every kind that takes chunks; a gap of kernels among them."""
    params = NETWORK.init(jax.random.key(1))
    features = et.early_time_features(et.gaussian_moments("erf"), trained="both", dim=4, trace_sigma_squared=4.0)
    closed = et.two_layer_kernel(params, x, "erf", trained="both")
    linear = et.linear_kernel(features, x)
    several = et.tangent_kernel(lambda p, x: jnp.stack([x @ p, x @ p**2], axis=1), jnp.ones(4), x)
    plain = et.linear_kernel(lambda x: x**2, x)
    return [et.tangent_kernel(NETWORK.apply, params, x), closed - linear, several, plain]


# Both sides of the block that a CPU takes at once.
@pytest.mark.parametrize("size", [pytest.param(50, marks=pytest.mark.slow), 3000])
def test_chunks_are_the_inputs_that_they_draw(size):
    x = some_chunks(3, size)
    held = jnp.concatenate([et.sample_inputs(key, size, 4) for key in x.keys])
    assert x.shape == held.shape and x.dtype == held.dtype and x.ndim == 2 and x.size == size
    np.testing.assert_array_equal(x.dense(), held)
    np.testing.assert_array_equal(x.first(), held[:size])
    for drawn, whole in zip(kernels(x)[: 2 if size > 50 else None], kernels(held)):
        assert drawn.shape == whole.shape and drawn.symmetric
        u = jnp.cos(jnp.arange(whole.shape[1], dtype=float))
        np.testing.assert_allclose(drawn.matvec(u), whole.matvec(u), rtol=1e-9, atol=1e-9)
        if size == 50:
            np.testing.assert_allclose(drawn.dense(), whole.dense(), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_keys_of_the_old_kind_draw_as_well_and_features_have_their_kernels(count):
    keys = jax.random.split(jax.random.PRNGKey(0), count)
    x = Chunks(lambda key: jax.random.normal(key, (5, 4)), keys)
    held = np.concatenate([jax.random.normal(key, (5, 4)) for key in keys])
    assert x.shape == held.shape
    np.testing.assert_array_equal(x.dense(), held)
    if count != 2:  # the kernels cost seconds
        return
    x2, product = 1.0 + np.arange(8.0).reshape(2, 4), et.linear_kernel
    for kernel, matrix in (
        (product(lambda x: x, x), held @ held.T),
        (product(lambda x: x, x, x2), held @ x2.T),
        (product(lambda x: x, x2, x), x2 @ held.T),
    ):
        u = np.cos(np.arange(matrix.shape[1], dtype=float))
        assert kernel.shape == matrix.shape and kernel.symmetric == (len(u) == len(matrix)) and kernel.cheap_dense
        np.testing.assert_allclose(kernel.dense(), matrix, rtol=1e-10)
        np.testing.assert_allclose(kernel.matvec(u), matrix @ u, rtol=1e-10)


@pytest.mark.slow
def test_chunks_on_one_side_alone():
    x, x2 = some_chunks(3), jnp.eye(4)
    for of in (
        lambda *xs: et.linear_kernel(lambda x: x**2, *xs),
        lambda *xs: et.tangent_kernel(NETWORK.apply, NETWORK.init(jax.random.key(1)), *xs),
    ):
        for first, second in ((x, x2), (x2, x)):
            kernel = of(first, second)
            matrix = of(*(each.dense() if each is x else each for each in (first, second))).dense()
            assert kernel.shape == matrix.shape and not kernel.symmetric
            np.testing.assert_allclose(kernel.dense(), matrix, atol=1e-12)
            u = jnp.arange(1.0, 1 + matrix.shape[1])
            np.testing.assert_allclose(kernel.matvec(u), matrix @ u, rtol=1e-10)


def test_chunks_that_are_not_finite_are_refused():
    x = Chunks(lambda key: jnp.full((3, 4), jnp.nan), jax.random.split(jax.random.key(0), 2))
    with pytest.raises(ValueError, match="^x: expected finite numbers"):
        et.two_layer_kernel(NETWORK.init(jax.random.key(1)), x, "erf", trained="both")
    with pytest.raises(ValueError, match="^x: expected finite numbers"):
        et.tangent_kernel(NETWORK.apply, NETWORK.init(jax.random.key(1)), x)


def bytes_of_a_product(kernel):
    u = jax.ShapeDtypeStruct((kernel.shape[1],), kernel.dtype)
    program = jax.jit(lambda kernel, u: kernel.product(u)).lower(kernel, u).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_of_more_chunks_only_vectors_of_n_numbers_need_more_memory():
    few, many = 10, 1000
    less, more = (bytes_of_a_product(kernels(some_chunks(count))[1]) for count in (few, many))
    assert more - less <= 4 * 8 * 50 * (many - few)  # four vectors, whatever the dimension of the inputs
    print(f"bytes per input: {(more - less) / (50 * (many - few))}")
