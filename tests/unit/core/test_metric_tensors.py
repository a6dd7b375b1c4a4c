"""Metrics take tensors of torch and TensorFlow as they take arrays."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fl.core.metrics import Metric
from fl.core.metrics.classification import MulticlassAccuracyPrecisionRecall
from fl.errors import DataError

RNG = np.random.default_rng(0)
BINARY = (RNG.integers(0, 2, 12), RNG.random(12).astype("float32"))
CLASSES = (RNG.integers(0, 3, 12), RNG.dirichlet(np.ones(3), 12).astype("float32"))
NUMBERS = (RNG.normal(size=12).astype("float32"), RNG.normal(size=(12, 1)).astype("float32"))

CASES: list[tuple[Any, Any]] = [
    ("mae", NUMBERS),
    ("mse", NUMBERS),
    ("r2", NUMBERS),
    ("binary-classif", BINARY),
    ("binary-roc", BINARY),
    (("multi-classif", {"labels": [0, 1, 2]}), CLASSES),
    (("confusion", {"labels": [0, 1, 2]}), CLASSES),
    ("log-loss", CLASSES),
    ("top-k-accuracy", CLASSES),
]


@pytest.fixture(params=["torch", "tensorflow"])
def as_tensor(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    if request.param == "torch":
        import torch  # noqa: PLC0415  # seconds, for those who run these tests

        yield torch.from_numpy
    else:
        import tensorflow as tf  # noqa: PLC0415  # likewise

        yield tf.constant


@pytest.mark.parametrize(("spec", "samples"), CASES, ids=lambda case: str(case) if isinstance(case, str) else "")
def test_tensors_measure_what_arrays_do(as_tensor: Callable[[Any], Any], spec: Any, samples: Any) -> None:
    of_arrays, of_tensors = Metric.registry.build(spec), Metric.registry.build(spec)
    (y_true, y_pred), weights = samples, RNG.random(12)

    of_arrays.update(y_true, y_pred, weights)
    of_tensors.update(as_tensor(y_true), as_tensor(y_pred), as_tensor(weights))

    states = of_arrays.get_state(), of_tensors.get_state()
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(value, states[1][name]) for name, value in states[0].items())


def test_text_that_tensorflow_has_as_bytes_is_text() -> None:
    import tensorflow as tf  # noqa: PLC0415  # seconds, for those who run this test

    metric = MulticlassAccuracyPrecisionRecall(["a", "é"])
    metric.update(tf.constant(["a", "é", "é"]), tf.constant(["a", "é", "a"]))

    assert metric.result()["accuracy"] == pytest.approx(2 / 3)


def test_weights_that_are_a_column_are_refused() -> None:
    with pytest.raises(DataError, match=r"one weight a sample is needed, but they have shape \(2, 1\)"):
        Metric.registry.build("mse").update([1.0, 2.0], [1.0, 2.0], [[1.0], [1.0]])
