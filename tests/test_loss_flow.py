"""Loss flow in single precision, and where there are no new inputs."""

import earlytime as et
import numpy as np


def test_single_precision_is_as_exact_as_it_says():
    """f' = 1/(1 + e^f) for one sample and its kernel 1: f + e^f = 1 + time from f = 0."""
    kernel, y = np.eye(1, dtype=np.float32), np.ones(1, np.float32)
    found, new = et.loss_flow(kernel, y, loss="cross_entropy", time=[1.0, 10.0], start=np.zeros(1, np.float32))
    assert found.dtype == np.float32 and new.shape == (2, 0) and new.dtype == np.float32
    found = np.asarray(found, float)[:, 0]
    np.testing.assert_allclose(found + np.exp(found), [2.0, 11.0], rtol=1e-5)
