import earlytime as et
import jax
import numpy as np
import pytest
from refusals import refused

NETWORKS = {
    "fully connected": et.fully_connected(4, 8, "tanh", depth=2, weight_std=1.4, bias_std=0.3),
    "convolutional": et.convolutional((4, 1), 3, "erf", depth=1, filter_size=2, weight_std=1.4, bias_std=0.3),
}
SCALES = {"weight_std": 1.4, "bias_std": 0.3}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_scaled_rates_make_the_two_parameterizations_one(network):
    x = np.asarray(et.sample_inputs(jax.random.key(0), 5, 4))
    standard, key = et.parameterization.standard_parameterization(network, **SCALES), jax.random.key(1)
    rates = jax.tree.map(lambda scale: 0.3 * scale**2, et.parameterization.layer_scales(network.init(key), **SCALES))
    options = {"num_steps": 30, "record_steps": (0, 30)}
    ntk = et.train(network.apply, network.init(key), x, x[:, 0], learning_rate=0.3, **options)
    same = et.train(standard.apply, standard.init(key), x, x[:, 0], learning_rate=rates, **options)
    np.testing.assert_allclose(same.train_outputs, ntk.train_outputs, rtol=1e-8)


@pytest.mark.parametrize(
    "name, scales", [("bias_std", {"weight_std": 1.4}), ("weight_std", SCALES | {"weight_std": 0.0})]
)
def test_scales_that_cannot_be_the_network_s_are_refused(name, scales):
    with refused(name):
        et.parameterization.standard_parameterization(NETWORKS["convolutional"], **scales)


def test_variances_of_the_weights():
    standard = et.parameterization.standard_parameterization(
        et.fully_connected(50, 80, "erf", depth=1, **SCALES), **SCALES
    )
    layers = standard.init(jax.random.key(0))
    assert abs(np.std(layers[0].w) * np.sqrt(50) / 1.4 - 1) < 0.05
    assert abs(np.std(layers[1].w) * np.sqrt(80) / 1.4 - 1) < 0.25
    assert abs(np.std(layers[0].b) / 0.3 - 1) < 0.25
