"""Clipped gradients of linear models, against those of each sample alone."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.model.parameters import Penalty, Precision
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.vector import Array
from fl.errors import DataError

BOUND = 0.7
FEATURES, CLASSES = 5, 3


def model_of(penalty: Penalty | None, dtype: Precision, *, size: float = 1.0) -> SklearnSGDModel:
    made = SklearnSGDModel.from_parameters("classifier", "log_loss", penalty, alpha=0.1, dtype=dtype)
    made.initialize(DataInfo(n_samples=9, n_features=FEATURES, classes=tuple(range(CLASSES))))
    weights = made.get_weights()
    weights.flat[...] = np.random.default_rng(1).normal(size=weights.flat.size) * size
    made.set_weights(weights)
    return made


def batch_of(n: int) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(rng.normal(size=(n, FEATURES)) * 3, rng.integers(CLASSES, size=n), rng.uniform(0.1, 2, n))


def clipped(made: SklearnSGDModel, batch: Batch, *, per_tensor: bool = False) -> Array:
    return made.compute_batch_gradients(batch, BOUND, per_tensor=per_tensor).flat.astype(np.float64)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("penalty", [None, "l2", "l1"])
def test_clipped_gradients_are_those_of_samples_alone(penalty: Penalty | None, per_tensor: bool, sparse: bool) -> None:
    made, batch = model_of(penalty, "float64"), batch_of(7)
    total = np.zeros(CLASSES * (FEATURES + 1))
    for i in range(7):
        alone = made.compute_batch_gradients(Batch(*(part[i : i + 1] for part in batch))).arrays()
        pieces = [array.ravel() for array in alone.values()]
        pieces = pieces if per_tensor else [np.concatenate(pieces)]
        total += np.concatenate([piece / max(1.0, np.linalg.norm(piece) / BOUND) for piece in pieces]) / 7
    x = scipy.sparse.csr_matrix(batch.x) if sparse else batch.x
    np.testing.assert_allclose(clipped(made, batch._replace(x=x), per_tensor=per_tensor), total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("penalty", [None, "l2", "l1"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_sample_adds_more_than_the_bound(penalty: Penalty | None, data: Any) -> None:
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    made = model_of(penalty, dtype, size=data.draw(st.sampled_from([1.0, 1e4])))
    numbers = st.floats(-4, 4) | st.floats(-(2.0**100), 2.0**100)
    x = data.draw(arrays(np.float64, (1, FEATURES), elements=numbers))
    batch = Batch(x, np.array([data.draw(st.integers(0, CLASSES - 1))]), np.array([data.draw(st.floats(0, 2.0**90))]))
    with np.errstate(all="ignore"):
        assert np.linalg.norm(clipped(made, batch)) <= BOUND * (1 + 1e-5)


def test_a_gradient_that_nothing_bounds_is_an_error() -> None:
    with np.errstate(all="ignore"), pytest.raises(DataError, match="a sample's gradient is not finite"):
        clipped(model_of("l2", "float64"), batch_of(2)._replace(x=np.full((2, FEATURES), np.nan)))
