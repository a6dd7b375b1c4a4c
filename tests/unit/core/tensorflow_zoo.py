"""Keras models of many kinds, each with a loss and a batch that fits; and what tests ask of them."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np

from fl.core.dataset import Batch
from fl.core.model.tensorflow import TensorflowModel
from fl.core.vector import Array
from fl.core.vector.tensorflow_vector import TensorflowVector

layers = keras.layers
N = 6


class Case(NamedTuple):
    """How to build a model, its loss, a sample of it, and the number of classes."""

    build: Callable[[], Any]
    loss: Any
    sample: Callable[[np.random.Generator], Any]
    classes: int | None = None

    def model(self, **options: Any) -> TensorflowModel:
        return TensorflowModel(self.build(), self.loss, **options)

    def batch(self, seed: int = 0, n: int = N, *, weighted: bool = False) -> Batch:
        rng = np.random.default_rng(seed)
        samples = [self.sample(rng) for _ in range(n)]
        x = tuple(map(np.stack, zip(*samples, strict=True))) if isinstance(samples[0], tuple) else np.stack(samples)
        y = rng.normal(size=n) if self.classes is None else rng.integers(self.classes, size=n)
        return Batch(x, y, rng.random(n) * 2 if weighted else None)


def sequential(*parts: Any, shape: tuple[int, ...], dtype: str | None = None) -> Any:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


def mlp() -> Any:
    return sequential(layers.Dense(5, activation="tanh"), layers.Dense(3), shape=(4,))


def cnn() -> Any:
    conv = layers.Conv2D(3, 2, activation="softplus")
    return sequential(conv, layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(1), shape=(5, 5, 1))


def embedding() -> Any:
    return sequential(
        layers.Embedding(7, 3), layers.GlobalAveragePooling1D(), layers.Dense(3), shape=(4,), dtype="int32"
    )


def lstm() -> Any:
    return sequential(layers.LSTM(4), layers.Dense(1), shape=(5, 2))


def bidirectional() -> Any:
    return sequential(layers.Bidirectional(layers.GRU(3)), layers.Dense(1), shape=(4, 2))


def masked() -> Any:
    return sequential(layers.Masking(0.0), layers.LSTM(4), layers.Dense(1), shape=(5, 2))


def attention() -> Any:
    x = keras.Input((4, 3))
    mixed = layers.MultiHeadAttention(2, 2)(x, x)
    return keras.Model(x, layers.Dense(1)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(mixed))))


def batch_norm() -> Any:
    return sequential(layers.Dense(5), layers.BatchNormalization(name="norm"), layers.Dense(3), shape=(4,))


def frozen() -> Any:
    return sequential(layers.Dense(5, activation="tanh", trainable=False), layers.Dense(3), shape=(4,))


def frozen_base() -> Any:
    base = sequential(layers.Dense(5), layers.BatchNormalization(), shape=(4,))
    base.trainable = False
    return keras.Sequential([keras.Input((4,)), base, layers.Dense(3)])


def regularized() -> Any:
    hidden = layers.Dense(5, activation="tanh", kernel_regularizer="l2", activity_regularizer="l2")
    return sequential(hidden, layers.Dense(1), shape=(4,))


def dropout() -> Any:
    return sequential(layers.Dense(8, activation="tanh"), layers.Dropout(0.5), layers.Dense(3), shape=(4,))


def two_inputs() -> Any:
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    joined = layers.Concatenate()([layers.Dense(2)(left), layers.Dense(2)(right)])
    return keras.Model([left, right], layers.Dense(1)(joined))


def shared() -> Any:
    left, right, twin = keras.Input((3,), name="left"), keras.Input((3,), name="right"), layers.Dense(2)
    return keras.Model([left, right], layers.Dense(1)(layers.Subtract()([twin(left), twin(right)])))


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def floats(*shape: int) -> Callable[[np.random.Generator], Array]:
    return lambda rng: rng.normal(size=shape)


ZOO = {
    "mlp": Case(mlp, LOGITS, floats(4), 3),
    "cnn": Case(cnn, "mse", floats(5, 5, 1)),
    "embedding": Case(embedding, LOGITS, lambda rng: rng.integers(7, size=4), 3),
    "lstm": Case(lstm, "mse", floats(5, 2)),
    "bidirectional": Case(bidirectional, "mse", floats(4, 2)),
    "masked": Case(masked, "mse", lambda rng: rng.normal(size=(5, 2)) * (np.arange(5) < 3)[:, None]),
    "attention": Case(attention, "huber", floats(4, 3)),
    "batch norm": Case(batch_norm, LOGITS, floats(4), 3),
    "frozen": Case(frozen, keras.losses.CategoricalCrossentropy(from_logits=True), floats(4), 3),
    "frozen base": Case(frozen_base, LOGITS, floats(4), 3),
    "regularized": Case(regularized, keras.losses.BinaryCrossentropy(from_logits=True), floats(4), 2),
    "dropout": Case(dropout, LOGITS, floats(4), 3),
    "two inputs": Case(two_inputs, "mse", lambda rng: (rng.normal(size=3), rng.normal(size=2))),
    "shared": Case(shared, "mse", lambda rng: (rng.normal(size=3), rng.normal(size=3))),
}


def as_float64(case: Case) -> Case:
    """The same with float64 layers."""

    def build() -> Any:
        before = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            return case.build()
        finally:
            keras.config.set_floatx(before[0])
            keras.config.set_dtype_policy(before[1])

    return case._replace(build=build)


@cache
def _made(name: str, double: bool) -> tuple[TensorflowModel, TensorflowVector]:
    model = (as_float64(ZOO[name]) if double else ZOO[name]).model()
    return model, model.get_weights()


def model_of(name: str, *, double: bool = False) -> TensorflowModel:
    """One model for all tests, since graphs take long to trace, with the weights that it began with.

    Tests that initialise or move a model make their own.
    """
    model, start = _made(name, double)
    model.set_weights(start)
    return model


class Plain(keras.Model):  # type: ignore[misc]  # mypy does not read Keras
    """Subclassed, unregistered, and not built."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(3)
        self.out = layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        del training
        return self.out(self.hidden(x))


@keras.saving.register_keras_serializable("tests.tensorflow")
class Scale(keras.layers.Layer):  # type: ignore[misc]  # likewise
    """A layer of somebody's own, whose part Keras names with a counter of the process."""

    def build(self, shape: Any) -> None:
        self.part = layers.Dense(1)
        self.part.build(shape)
        self.factor = self.add_weight(shape=())

    def call(self, x: Any) -> Any:
        return self.part(x) * self.factor


class Stranger(keras.layers.Dense):  # type: ignore[misc]  # likewise
    """Registered nowhere."""


@keras.saving.register_keras_serializable("tests.tensorflow")
class BatchLoss(keras.losses.Loss):  # type: ignore[misc]  # likewise
    """One value for all samples."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean((y_true - y_pred) ** 2)


def made_by_hand(units: int = 2) -> Any:
    return sequential(layers.Dense(units), layers.Dense(1), shape=(3,))


def plain() -> Any:
    return Plain()


def made_with_loss(units: int = 2) -> Any:
    return made_by_hand(units), keras.losses.Huber(delta=0.5)


def made_of_nothing() -> Any:
    return 3
