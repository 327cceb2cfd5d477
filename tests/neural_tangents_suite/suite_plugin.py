"""A pytest plugin: neural-tangents' own tests, on the neural-tangents that earlytime loads.

The test files use names that JAX has removed, too. Here, in the process of the tests alone, they are put
back. `run.py` passes this file to pytest; the settings come from its environment.
"""

import os
import sys
import types
import warnings

import jax
import jax.core
import jax.extend.core
import numpy as np
from absl import flags

from earlytime import _neural_tangents

_neural_tangents.load()
warnings.simplefilter("ignore")

for module, name, value in [
    (jax, "tree_map", jax.tree_util.tree_map),
    (jax.core, "Primitive", jax.extend.core.Primitive),
]:
    if not hasattr(module, name):
        setattr(module, name, value)

# The examples would download MNIST and CIFAR-10 with these.
for name in ("tensorflow", "tensorflow_datasets"):
    sys.modules[name] = types.ModuleType(name)

from examples import datasets  # noqa: E402
from tests import test_utils  # noqa: E402

if not flags.FLAGS.is_parsed():  # the arguments are pytest's
    flags.FLAGS(["pytest"])


def _noise(name, n_train=None, n_test=None, permute_train=False, do_flatten_and_normalize=True, **_):
    """Ten noisy classes in the shape of a dataset."""
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    rng = np.random.RandomState(0)
    means = rng.randn(10, *shape)
    out = []
    for n in (n_train or 1024, n_test or 256):
        labels = rng.randint(0, 10, n)
        x = means[labels] + rng.randn(n, *shape)
        out += [x.reshape(n, -1) if do_flatten_and_normalize else x, np.eye(10, dtype=np.float32)[labels]]
    return out


datasets.get_dataset = _noise

if os.environ.get("NEURAL_TANGENTS_NO_SKIP"):
    test_utils.skip_test = lambda *args, **kwargs: None


def pytest_collection_modifyitems(items):
    """`rules_test` binds primitives by hand, with the parameters that they had; some have more now."""
    for rules_test in {item.module for item in items if item.module.__name__ == "tests.rules_test"}:
        rules_test._get_f_and_eqn = _with_new_parameters(rules_test._get_f_and_eqn)


def _with_new_parameters(get_f_and_eqn):
    def get(params, primitive, *inputs):
        new = [{}, {"sharding": None}, {"out_sharding": None}, {"out_sharding": None, "out_type": None}]
        if getattr(primitive, "name", "") == "reduce_sum":  # bound without it, transposed only with it
            new.reverse()
        for extra in new:
            try:
                return get_f_and_eqn({**params, **extra}, primitive, *inputs)
            except TypeError as error:
                if "sharding" not in str(error) and "out_type" not in str(error):
                    raise
                refusal = error
        raise refusal

    return get
