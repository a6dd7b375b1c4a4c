"""The loss of a Keras model, sample by sample."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import keras
import tensorflow as tf

from fl.core.model.tensorflow.recipe import describe, restore
from fl.core.model.tensorflow.targets import Task
from fl.errors import DataError, ModelError

TASKS: Final = {
    "sparse_categorical_crossentropy": Task.INDEX,
    "categorical_crossentropy": Task.ONE_HOT,
    "categorical_focal_crossentropy": Task.ONE_HOT,
    "categorical_generalized_cross_entropy": Task.INDEX,
    "categorical_hinge": Task.ONE_HOT,
    "binary_crossentropy": Task.BINARY,
    "binary_focal_crossentropy": Task.BINARY,
    "hinge": Task.SIGN,
    "squared_hinge": Task.SIGN,
    "ctc": Task.OTHER,
    "dice": Task.OTHER,
    "tversky": Task.OTHER,
    "circle": Task.OTHER,
}
"""By Keras's names. Its other losses compare values."""


class SampleLoss:
    """One loss a sample, of shape (n,): over further axes, the mean, or the sum where the loss's reduction is one.

    Steps that Keras masks, such as padding, count for nothing. The loss of a batch is the mean over its samples,
    whatever the reduction. The loss that is given is copied, and never changed.
    """

    def __init__(self, loss: Any) -> None:
        """A `keras.losses.Loss`, a function, a name, or a config. Raises `ModelError` for what is no loss."""
        try:
            loss = restore(loss) if isinstance(loss, Mapping) else keras.losses.get(loss)
        except (ValueError, TypeError) as error:
            raise ModelError(f"loss {loss!r} is none of Keras's: {error}") from None
        if not callable(loss):
            raise ModelError(f"loss {loss!r}: give a keras.losses.Loss or the name of one, such as 'mse'")
        self._config = _described(loss)
        loss = restore(self._config)
        self._sums = getattr(loss, "reduction", None) == "sum"
        self._call = loss.call if isinstance(loss, keras.losses.Loss) else loss
        function = getattr(loss, "fn", loss)
        self.name = getattr(function, "__name__", type(function).__name__)
        is_kerass = hasattr(keras.losses, self.name)
        self.task = TASKS.get(self.name, Task.VALUE) if is_kerass else Task.OTHER
        options = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
        self.from_logits = bool(options.get("from_logits", False))
        self.ignored: int | None = options.get("ignore_class")

    def get_config(self) -> dict[str, Any]:
        return deepcopy(self._config)

    def __call__(self, y: Any, raw: Any) -> Any:
        """Losses as a tensor of shape (n,), of targets and the model's output, in the dtype of the output.

        Raises `DataError` where shapes differ by more than a last axis of length 1, `ModelError` for a loss that
        mixes samples.
        """
        mask = getattr(raw, "_keras_mask", None)
        values = self._call(self._aligned(y, raw), raw)
        if values.shape.rank == 0:
            raise ModelError(
                f"loss {self.name} gives one value for a whole batch, but one for each sample is needed: without a "
                "reduction over the first axis, or with axis= where the loss has it"
            )
        if values.shape.rank == 1:
            return values
        return self._over_steps(values, mask)

    def check(self, output: tuple[int | None, ...]) -> None:
        """Raise `ModelError` unless outputs of this shape, without the batch's axis, give one loss each."""
        shape = [4 if length is None else length for length in output]
        n_samples = next(number for number in range(2, 99) if number not in shape)
        raw = tf.ones([n_samples, *shape]) / 2
        y = tf.zeros([n_samples, *shape[:-1]], tf.int64) if self.task is Task.INDEX else tf.zeros_like(raw)
        if self.task is Task.OTHER:
            return
        values = self(y, raw)
        if tuple(values.shape) != (n_samples,):
            raise ModelError(f"loss {self.name} gives values of shape {values.shape} for {n_samples} samples")

    def _aligned(self, y: Any, raw: Any) -> Any:
        """Targets with the shape of the output, so that nothing is broadcast."""
        if self.task is Task.OTHER:
            return y
        wanted = raw.shape[:-1] if self.task is Task.INDEX else raw.shape
        if y.shape.rank == wanted.rank and y.shape.is_compatible_with(wanted):
            return y
        if y.shape.rank == wanted.rank + 1 and y.shape[-1] == 1 and y.shape[:-1].is_compatible_with(wanted):
            return tf.squeeze(y, -1)
        if y.shape.rank == wanted.rank - 1 and wanted[-1] == 1 and y.shape.is_compatible_with(wanted[:-1]):
            return tf.expand_dims(y, -1)
        raise DataError(
            f"targets of shape {tuple(y.shape[1:])} do not fit outputs of shape {tuple(raw.shape[1:])}, which loss "
            f"{self.name} compares with targets of shape {tuple(wanted[1:])}"
        )

    def _over_steps(self, values: Any, mask: Any) -> Any:
        size = tf.shape(values)[0]
        flat = tf.reshape(values, [size, -1])
        counted = tf.ones_like(flat)
        if mask is not None:
            counted = tf.reshape(tf.broadcast_to(tf.cast(mask, flat.dtype), tf.shape(values)), [size, -1])
        total = tf.reduce_sum(flat * counted, 1)
        return total if self._sums else total / tf.maximum(tf.reduce_sum(counted, 1), 1)


def _described(loss: Any) -> dict[str, Any]:
    """Keras's config of a loss, with the options that Keras itself leaves out, as it does with Huber's `delta`."""
    config = describe(loss)
    if isinstance(loss, keras.losses.Loss):
        taken = inspect.signature(type(loss)).parameters.keys() - config["config"].keys()
        options = getattr(loss, "_fn_kwargs", {})  # where Keras keeps those of the loss's function
        config["config"].update({name: value for name, value in options.items() if name in taken})
    return config
