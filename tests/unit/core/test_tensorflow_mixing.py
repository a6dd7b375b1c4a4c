"""Which Keras models are refused where samples are to be clipped, since these see each other, and which are not."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model.tensorflow import TensorflowModel
from fl.errors import ModelError
from tests.unit.core.tensorflow_zoo import LOGITS, ZOO, layers, sequential

register = keras.saving.register_keras_serializable("tests.tensorflow.mixing")


@register
class Centred(keras.layers.Layer):  # type: ignore[misc]  # mypy does not read Keras
    """Takes the mean of the batch off each sample."""

    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0, keepdims=True)


@register
class CentredInTraining(Centred):
    """Does so in training only."""

    def call(self, x: Any, training: bool = False) -> Any:
        return super().call(x) if training else x


@register
class Rolled(keras.layers.Layer):  # type: ignore[misc]  # likewise
    """Gives each sample what is of the one before it."""

    def call(self, x: Any) -> Any:
        return keras.ops.roll(x, 1, axis=0)


@register
class Shuffled(keras.layers.Layer):  # type: ignore[misc]  # likewise
    """Gives samples what is of others, in a new order each time, from a generator of its own."""

    def build(self, shape: Any) -> None:
        del shape
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        return keras.random.shuffle(x, axis=0, seed=self.seeds)


@register
class First(keras.layers.Layer):  # type: ignore[misc]  # likewise
    """Adds the first sample of a batch to all of them."""

    def call(self, x: Any) -> Any:
        return x + x[:1]


@register
class Drawing(keras.layers.Layer):  # type: ignore[misc]  # likewise
    """Adds noise that no generator of the model's gives."""

    def call(self, x: Any) -> Any:
        return x + np.random.default_rng().normal()


@register
class Sampling(Shuffled):
    """Adds noise from a generator of its own to each sample, as variational autoencoders do."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


@register
class Within(keras.Model):  # type: ignore[misc]  # likewise
    """Subclassed; what it mixes, it mixes by itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hidden = layers.Dense(3)

    def call(self, x: Any) -> Any:
        hidden = self.hidden(x)
        return hidden - keras.ops.mean(hidden, axis=0)


def around(layer: Any, shape: tuple[int, ...] = (4,)) -> Callable[[], Any]:
    return lambda: sequential(layers.Dense(5), layers.Dropout(0.5), layer, layers.Dense(3), shape=shape)


def nested() -> Any:
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(5), Centred(name="culprit")])
    return sequential(layers.Dense(5), inner, layers.Dense(3), shape=(4,))


def by_operations() -> Any:
    x = keras.Input((4,))
    hidden = layers.Dense(5)(x)
    return keras.Model(x, layers.Dense(3)(keras.ops.subtract(hidden, keras.ops.mean(hidden, axis=0))))


MIXING: dict[str, tuple[Callable[[], Any], str]] = {
    "the batch's mean": (around(Centred(name="culprit")), r"layer 'culprit' \(Centred\)"),
    "in training only": (around(CentredInTraining(name="culprit")), r"layer 'culprit' \(CentredInTraining\)"),
    "the one before": (around(Rolled(name="culprit")), r"layer 'culprit' \(Rolled\)"),
    "a new order": (around(Shuffled(name="culprit")), r"layer 'culprit' \(Shuffled\)"),
    "the first": (around(First(name="culprit")), r"layer 'culprit' \(First\)"),
    "deep within": (nested, r"layer 'culprit' \(Centred\)"),
    "an operation": (by_operations, r"layer 'subtract\w*' \(Subtract\)"),
    "statistics that are not kept": (
        around(layers.UnitNormalization(axis=0, name="culprit")),
        r"layer 'culprit' \(UnitNormalization\)",
    ),
}
"""By what samples see of each other: the model, and how the layer is named."""


def initialized(built: Any, shape: tuple[int, ...] = (4,), **options: Any) -> TensorflowModel:
    model = TensorflowModel(built, LOGITS, **options)
    model.initialize(DataInfo(n_samples=10, input_shape=(10, *shape), classes=(0, 1, 2)))
    return model


@pytest.mark.parametrize("what", MIXING)
def test_the_layer_that_mixes_samples_is_named_before_a_run(what: str) -> None:
    make, layer = MIXING[what]
    with pytest.raises(ModelError, match=rf"{layer} mixes the samples of a batch"):
        initialized(make()).check_separate()


def test_a_model_that_mixes_in_its_own_call_is_told_so() -> None:
    with pytest.raises(ModelError, match="the model's own call mixes the samples of a batch"):
        initialized(Within()).check_separate()


def test_a_model_that_mixes_is_refused_at_the_first_batch_if_nobody_looked_before() -> None:
    # Given samples that are alike, of which each is the mean
    batch = Batch(np.ones((2, 4)), np.ones(2))

    # When their gradients are to be clipped, then the model is refused
    with pytest.raises(ModelError, match="mixes the samples of a batch"):
        initialized(Within()).compute_batch_gradients(batch, 1.0)


def test_noise_that_no_round_done_again_would_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"layer 'culprit' \(Drawing\) draws from a generator that is not its own"):
        initialized(around(Drawing(name="culprit"))()).check_separate()


@pytest.mark.parametrize("name", [name for name in ZOO if name != "batch norm"])
def test_no_model_is_refused_whose_samples_keep_to_themselves(name: str) -> None:
    model = ZOO[name].model()
    model.check_separate()

    assert model._separation._is_known, "it has been tried"


@pytest.mark.parametrize(
    "layer",
    [
        layers.LayerNormalization(),
        layers.GroupNormalization(5),
        layers.GaussianNoise(0.5),
        layers.AlphaDropout(0.5),
        Sampling(),
        layers.Softmax(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_within_a_sample_and_draws_of_their_own_are_no_mixing(layer: Any) -> None:
    initialized(around(layer)()).check_separate()


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5),
        layers.Bidirectional(layers.GRU(4, return_sequences=False)),
        layers.TimeDistributed(layers.Dense(4)),
        layers.SpatialDropout1D(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_time_is_no_other_sample(layer: Any) -> None:
    flat = sequential(layer, layers.Flatten(), layers.Dense(3), shape=(7, 2))
    initialized(flat, (7, 2)).check_separate()


def test_statistics_that_are_frozen_are_not_refused() -> None:
    built = sequential(layers.Dense(5), layers.BatchNormalization(), layers.Dense(3), shape=(4,))
    initialized(built, buffers="frozen").check_separate()


def test_looking_leaves_the_model_as_it_was() -> None:
    # Given a gradient of a model that draws
    case = ZOO["dropout"]
    model, batch = case.model(), case.batch()
    model.start_round(np.random.default_rng(5))
    before, gradient = model.get_weights().to_numpy(), np.asarray(model.compute_batch_gradients(batch).flat)

    # When the round begins again, and the model is looked at
    model.start_round(np.random.default_rng(5))
    model.check_separate()

    # Then it has the same weights, and draws the same
    assert model.get_weights().to_numpy() == before
    np.testing.assert_array_equal(np.asarray(model.compute_batch_gradients(batch).flat), gradient)
