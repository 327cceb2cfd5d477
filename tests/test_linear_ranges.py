import earlytime as et
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime.linear_ranges import _first_crossing, linear_range, loss_range
from refusals import refused

X = np.random.default_rng(0).normal(size=(30, 3))
W, U = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.1, -0.2])
SINGLE = tuple(np.asarray(each, np.float32) for each in (W, U, X))


def bent(w, x):
    """Quadratic in w, so that the remainder is proportional to the distance."""
    return x @ w + 0.1 * (x @ w) ** 2


def test_the_range_of_a_quadratic_network_is_its_closed_form():
    x, w, u = (np.asarray(each, np.float64) for each in (X, W, U))
    slope = x @ u + 0.2 * (x @ w) * (x @ u)
    ratio = np.linalg.norm(0.1 * (x @ u) ** 2) / np.linalg.norm(slope)  # the remainder at s = 1
    tolerances = [0.01, 0.05, 0.1, 0.3, 0.9]
    found = linear_range(bent, W, U, X, tolerances=tolerances)
    np.testing.assert_allclose(found.multiples, np.array(tolerances) / ratio, rtol=2e-3)
    np.testing.assert_allclose(found.distances, found.multiples * np.linalg.norm(u), rtol=1e-6)
    np.testing.assert_allclose(found.remainders[-8:], found.scanned[-8:] * ratio, rtol=1e-4)


def test_the_distance_does_not_depend_on_the_direction_s_length():
    one, ten = (linear_range(bent, W, factor * U, X) for factor in (1.0, 10.0))
    np.testing.assert_allclose(one.distances, ten.distances, rtol=1e-3)
    np.testing.assert_allclose(one.multiples, 10 * ten.multiples, rtol=1e-3)


def test_what_is_linear_is_so_everywhere_whatever_rounding_does():
    assert np.all(np.isinf(linear_range(lambda w, x: x @ w, W, U, X).multiples))
    found = linear_range(lambda w, x: 1e4 + x @ w, *SINGLE)  # rounding is above the tolerances at the small distances
    assert found.remainders[0] > found.tolerances[-1] and np.all(np.isinf(found.multiples))


def test_rounding_that_hides_everything_is_said():
    hidden = linear_range(lambda w, x: 1e9 + x @ w, *SINGLE)
    assert np.all(np.isnan(hidden.multiples[:2]))


def test_a_kink_is_found_where_it_is():
    """|w x| with w = 1, moved along -1: it is linear up to s = 1, and wrong by 2 (s - 1) after that."""
    found = linear_range(
        lambda w, x: jnp.abs(x @ w), jnp.array([1.0]), jnp.array([-1.0]), np.ones((4, 1)), tolerances=[0.5]
    )
    # 2 (s - 1)/s = 1/2 at s = 4/3; between 1 and 2 it is interpolated.
    assert 1.0 <= found.multiples[0] < 1.5


def test_the_range_of_a_loss_is_twice_the_best_step():
    """On a quadratic loss along the gradient: L(w - s g) = L(w) at s = 2 gᵀg/(gᵀHg)."""
    x, w, y = np.asarray(X, np.float64), np.asarray(W, np.float64), np.arange(30.0)
    gradient = x.T @ (x @ w - y) / 30
    closed = 2 * gradient @ gradient / (np.sum((x @ gradient) ** 2) / 30)
    found = loss_range(lambda w, x: x @ w, W, jnp.asarray(-gradient), X, y)
    assert found == pytest.approx(closed, rel=2e-3)


PANEL = 1 / 21  # between two powers of 2 the loss is looked at 22 times


@pytest.mark.parametrize(
    "multiple",
    [0.9 * 2**-16, 1.5 * 2**-16, 0.5 * (1 + PANEL / 2), 1.99 * 2**-4, 31.2, 32.8],
    ids=["below all", "in the first interval", "in the second panel", "in the last panel", "nearly 32", "above all"],
)
@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_a_loss_is_looked_at_from_a_sixteenth_power_of_one_half_to_32(multiple, scale):
    """(w + s u - y)² is back where it was at s = 2 (y - w)/u."""
    one = scale * jnp.ones(1)
    found = loss_range(lambda w, x: x @ w, one, one, np.ones((1, 1)), scale * np.array([1 + multiple / 2]))
    assert found == pytest.approx(0.0 if multiple < 2**-16 else np.inf if multiple > 32 else multiple, rel=2e-3)


def test_steps_too_small_to_be_seen_are_no_rise():
    one = jnp.ones(1, jnp.float32)
    assert loss_range(lambda w, x: x @ w, one, one, np.ones((1, 1), np.float32), np.array([1e4], np.float32)) == np.inf


@pytest.mark.parametrize("end", [1.01, 1.2])
def test_where_a_loss_ends_to_be_a_number_it_has_risen(end):
    loss = lambda outputs, y: jnp.sqrt(end - outputs)
    found = loss_range(lambda w, x: x @ w, jnp.zeros(1), jnp.ones(1), np.ones((1, 1)), np.zeros(1), loss=loss)
    assert end - PANEL <= found <= end


def test_distances_looked_at_and_crossings_at_their_edges():
    for params, first in ((W, 2**-16 * np.linalg.norm(W) / np.linalg.norm(U)), (0 * W, 2**-16 / np.linalg.norm(U))):
        scanned = linear_range(bent, params, U, X).scanned
        np.testing.assert_allclose(scanned, first * 2.0 ** np.arange(22), rtol=1e-6)
    at = np.array([1.0, 2.0, 4.0])
    for values, expected in {
        (0.05, 0.1, 0.2): 2.0,
        (0.05, 0.05, 0.2): 2 * 2**0.5,
        (0.2, 0.05, 0.2): 2 * 2**0.5,
        (0.1, 0.2, 0.4): 1.0,
        (0.2, 0.2, 0.4): np.nan,
        (0.4, 0.2, 0.4): np.nan,
        (0.05, 0.05, np.inf): 2.0,
        (0.05, 0.05, np.nan): 2.0,
        (0.05, 0.0, 0.2): 2.0,
        (0.0, 0.01, 0.02): np.inf,
    }.items():
        np.testing.assert_allclose(_first_crossing(at, np.array(values), 0.1), expected)


def test_a_loss_that_rises_at_once_and_one_that_never_does():
    f = lambda w, x: x @ w
    y = np.sign(X @ np.asarray(W))
    towards = {"loss": "cross_entropy"}
    assert loss_range(f, W, W, X, y, **towards) == np.inf  # separable, and further along the separating direction
    assert loss_range(f, W, -W, X, y, **towards) == 0.0


def test_parameters_that_are_no_numbers_ride_along_and_zeros_have_a_scale():
    params = {"w": jnp.zeros(3), "name": "linear", "count": jnp.arange(2)}
    found = linear_range(lambda p, x: jnp.tanh(x @ p["w"]), params, params | {"w": U}, X)
    assert np.all(np.isfinite(found.distances)) and np.all(np.diff(found.distances) > 0)


def test_refusals():
    with refused("direction"):
        linear_range(bent, W, jnp.zeros(3), X)
    with refused("direction"):
        linear_range(bent, W, jnp.ones(2), X)
    with refused("direction"):
        linear_range(bent, W, np.arange(3), X)
    with refused("direction"):
        loss_range(bent, W, jnp.array([1.0, np.nan, 0.0]), X, X[:, 0])
    for tolerances in ([0.0], [1.0], [0.3, 0.1], [], [np.nan]):
        with refused("tolerances"):
            linear_range(bent, W, U, X, tolerances=tolerances)
    with refused("y"):
        loss_range(bent, W, U, X, X[:5, 0])
    with refused("apply_fn"):
        linear_range(lambda w, x: x @ w - jnp.mean(x @ w), W, U, X)


def test_k_outputs_count_together():
    network = et.fully_connected(3, 32, "tanh", depth=2, num_outputs=2)
    params = network.init(jax.random.key(0))
    direction = network.init(jax.random.key(1))
    found = linear_range(network.apply, params, direction, X, tolerances=[0.1])
    s = found.multiples[0]
    moved = jax.tree.map(lambda p, u: p + s * u, params, direction)
    start, slope = jax.jvp(lambda p: network.apply(p, X), (params,), (direction,))
    gap = np.linalg.norm(network.apply(moved, X) - start - s * slope) / np.linalg.norm(s * slope)
    assert gap == pytest.approx(0.1, rel=0.05)
