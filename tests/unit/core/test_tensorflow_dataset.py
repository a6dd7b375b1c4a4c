"""Datasets of TensorFlow: what is read of them, and what people are told of those that cannot be."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from fl.core.dataset import Dataset
from fl.core.dataset.tensorflow_dataset import TensorflowDataset
from fl.errors import ConfigError, DataError

HERE = "tests.unit.core.test_tensorflow_dataset"
X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def slices(*parts: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


def numbered(n: int = 6) -> Any:
    """What a site's TOML may name."""
    return slices(X[:n], Y[:n])


def test_items_become_samples_targets_and_weights() -> None:
    batch = TensorflowDataset(slices(X, Y, np.linspace(0, 1, 6))).take(np.array([4, 1]))
    np.testing.assert_array_equal(batch.x, X[[4, 1]])
    np.testing.assert_array_equal(batch.y, [1, 1])
    np.testing.assert_allclose(batch.weights, [0.8, 0.2])


def test_items_may_be_samples_alone() -> None:
    batch = TensorflowDataset(slices(X)).take(slice(0, 2))
    assert batch.y is None
    np.testing.assert_array_equal(batch.x, X[:2])


@pytest.mark.parametrize("kind", [dict, tuple])
def test_samples_may_have_several_inputs(kind: type) -> None:
    inputs: Any = {"left": X, "right": Y} if kind is dict else (X, Y)
    dataset = TensorflowDataset(slices(inputs, Y))
    x: Any = dataset.take(np.array([2])).x
    np.testing.assert_array_equal(x["right" if kind is dict else 1], [2])
    assert type(x) is kind
    assert dataset.get_data_specs().input_shape is None


def test_what_leaves_the_site_is_what_it_exposes() -> None:
    shy = TensorflowDataset(numbered()).get_data_specs()
    open_ = TensorflowDataset(numbered(), expose_classes=True, expose_data_type=True).get_data_specs()
    assert (shy.n_samples, shy.n_features, shy.input_shape, shy.classes, shy.data_type) == (6, 2, (0, 2), None, None)
    assert (open_.classes, open_.data_type) == ((0, 1, 2), "float32")


def test_labels_may_be_text() -> None:
    dataset = TensorflowDataset(slices(X[:3], np.array(["no", "yes", "no"])), expose_classes=True)
    assert dataset.get_data_specs().classes == ("no", "yes")


def test_whole_numbers_stay_whole() -> None:
    assert TensorflowDataset(slices(Y.reshape(-1, 1), Y)).take(slice(0, 1)).x.dtype.kind == "i"


def test_batches_cover_more_items_than_are_read_at_a_time() -> None:
    dataset = TensorflowDataset(tf.data.Dataset.range(2500).map(lambda i: (tf.reshape(i, [1]), i)))
    found = [batch.y for batch in dataset.generate_batches(batch_size=500, shuffle=True, rng=np.random.default_rng(0))]
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(2500))


def test_a_dataset_of_a_factory_is_built_again_from_its_description() -> None:
    dataset = TensorflowDataset.from_factory(f"{HERE}:numbered", {"n": 4}, expose_classes=True)
    again = Dataset.load(json.loads(json.dumps(dataset.describe())))
    assert again.describe() == dataset.describe()
    assert again.get_data_specs() == dataset.get_data_specs()


def test_a_dataset_without_a_factory_has_no_description() -> None:
    assert TensorflowDataset(numbered()).describe() is None


def test_a_factory_that_is_not_there_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="has no function 'nothing'"):
        TensorflowDataset.from_factory(f"{HERE}:nothing")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: numbered().repeat(), r"never ends, .* leave out repeat\(\)"),
        (lambda: numbered(0), "no items"),
        (lambda: numbered().batch(4), r"do not stack: .* unbatch\(\)"),
        (lambda: slices(X, Y, Y, Y), "items have 4 parts"),
        (lambda: slices(X, {"a": Y}), "the target of an item must be one tensor"),
        (lambda: slices(np.array(["a", "b"]), Y[:2]), "numbers are needed"),
        (lambda: slices(np.array([[np.nan]]), Y[:1]), "NaN"),
        (lambda: slices(X, Y, -np.ones(6)), "s_wght"),
        (lambda: [1, 2], r"give a tf\.data\.Dataset, not a list"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_words(make: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        TensorflowDataset(make())


def test_classes_of_a_dataset_without_targets_are_refused() -> None:
    with pytest.raises(DataError, match="no target to take classes from"):
        TensorflowDataset(slices(X), expose_classes=True)
