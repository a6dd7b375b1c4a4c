"""Models of Keras 3 on its TensorFlow backend."""

from collections.abc import Mapping
from typing import Any, Self, get_args

import keras
import numpy as np
import tensorflow as tf

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy, get_device_policy, resolve
from fl.core.layout import check_same
from fl.core.model.api import UNBOUNDED, Model
from fl.core.model.clipping import Clipping
from fl.core.model.factory import Factory, factory_in
from fl.core.model.tensorflow.inputs import Inputs
from fl.core.model.tensorflow.loss import SampleLoss
from fl.core.model.tensorflow.recipe import Recipe
from fl.core.model.tensorflow.separate import Separation
from fl.core.model.tensorflow.shapes import build_for, copy_weights, output_shape
from fl.core.model.tensorflow.steps import Steps
from fl.core.model.tensorflow.targets import Targets, predictions
from fl.core.model.tensorflow.weights import Buffers, Weights, changing, freeze_statistics, named_variables
from fl.core.registry import configure
from fl.core.vector import Array, Vector
from fl.core.vector.tensorflow_vector import TensorflowVector
from fl.errors import DataError, ModelError


class TensorflowModel(Model):
    """A `keras.Model` and a loss.

    The model that is given stays as it is: what trains is a copy, made from its config and weights the way that
    every site makes it. A config is Keras's own JSON, so layers written by hand must be registered with Keras by a
    package that all sites have, or the model be built by a factory of such a package (`from_factory`).

    `buffers` says what becomes of statistics such as BatchNorm's: "average" shares and averages them, "local" leaves
    each site its own, "frozen" has BatchNorm compute with those it starts from, in training too. Layers that are not
    `trainable` reach the sites with their values, which then stay. The dtype policies of layers are kept; under
    "mixed_float16" losses are not scaled, as Keras's `LossScaleOptimizer` would, so prefer "mixed_bfloat16".
    `jit_compile` has XLA compile the steps.

    A gradient is of the samples' mean loss plus the penalties that layers add, as in Keras's own training. Updates
    are followed by the layers' constraints. What the model draws comes from generators of its own, so several models
    may train in the threads of one process.
    """

    name = "tensorflow"

    def __init__(
        self,
        model: "keras.Model | Recipe",
        loss: Any = None,
        *,
        buffers: Buffers = "average",
        jit_compile: bool = False,
    ) -> None:
        """`loss` is a `keras.losses.Loss` or the name of one; None where the recipe's factory makes it.

        Raises `ModelError`, `ConfigError` for a factory or where there is no loss.
        """
        if keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"Keras runs on {keras.backend.backend()} here: set KERAS_BACKEND=tensorflow before it is imported"
            )
        if buffers not in get_args(Buffers):
            raise ModelError(f"buffers={buffers!r} is none of {', '.join(get_args(Buffers))}")
        if not isinstance(model, keras.Model | Recipe):
            raise ModelError(f"give a keras.Model, not a {type(model).__name__}")
        self._recipe = model if isinstance(model, Recipe) else Recipe.of(model)
        self._buffers: Buffers = buffers
        self._jit_compile = jit_compile
        self._device = _device(get_device_policy())
        self._data_info: DataInfo | None = None
        self._weights: Weights | None = None
        with tf.device(self._device):
            made, made_loss = self._recipe.build_both()
        self._loss = SampleLoss(self._recipe.choose_loss(loss, made_loss))
        self._loss_is_made = loss is None
        self._take(made, like=None if isinstance(model, Recipe) else model)

    @classmethod
    def from_factory(
        cls,
        path: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        loss: Any = None,
        buffers: Buffers = "average",
        jit_compile: bool = False,
    ) -> Self:
        """The model that the function at "package.module:function" returns, or the model and its loss, as a pair.

        Sites make it by the same call; they have the package installed and allow the path. `kwargs` are values JSON
        can carry. Raises `ConfigError` or `ModelError`.
        """
        recipe = Recipe(Factory(path, kwargs or {}, trusted=True))
        return cls(recipe, loss, buffers=buffers, jit_compile=jit_compile)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Raises `ConfigError` for what this site does not allow, `ModelError` for what cannot be built."""
        return configure(cls._from_parts, config)

    @classmethod
    def _from_parts(
        cls,
        *,
        architecture: Mapping[str, Any] | None = None,
        factory: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | str | None = None,
        buffers: Buffers = "average",
        jit_compile: bool = False,
    ) -> Self:
        made_by = factory_in(cls.name, ("architecture", architecture), factory, kwargs)
        recipe = Recipe(made_by or dict(architecture or {}))
        return cls(recipe, loss, buffers=buffers, jit_compile=jit_compile)

    def get_config(self) -> dict[str, Any]:
        """Values JSON can carry."""
        own = {} if self._loss_is_made else {"loss": self._loss.get_config()}
        return {**self._recipe.config(), **own, "buffers": self._buffers, "jit_compile": self._jit_compile}

    def initialize(self, data_info: DataInfo) -> None:
        """Build a model that has no weights yet, and check that it fits. Weights that are there stay as they are."""
        self._data_info = data_info
        if self._weights is None:
            if data_info.input_shape is None:
                raise ModelError(
                    "this model has no weights yet and the data info tells no input shape to build it for: start it "
                    "with keras.Input, or call model.build"
                )
            self._build()
        if data_info.input_shape is not None:
            self._inputs.fits(tuple(data_info.input_shape[1:]))
        self._fit_targets()

    def get_weights(self, trainable: bool = False) -> TensorflowVector:
        return self._known().read_trainable() if trainable else self._known().read()

    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        if trainable:
            check_same(self._known().trainable, weights.layout)
        self._known().write(weights)

    def start_round(self, rng: np.random.Generator) -> None:
        self._known()
        self._steps.reseed(rng)

    def get_state(self) -> dict[str, Any]:
        """Under `buffers="local"`, the statistics."""
        weights = self._known()
        return {"buffers": weights.read_local()} if weights.local.specs else {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        local = self._known().local
        if set(state) != ({"buffers"} if local.specs else set()):
            raise ValueError(f"a state with {', '.join(state) or 'nothing'} is not that of this {self.name} model")
        if local.specs:
            self._known().write_local(state["buffers"])

    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> TensorflowVector:
        weights = self._known()
        x, y = self._inputs.flatten(batch.x), self._targets.encode(batch.y)
        n_samples = x[0].shape[0]
        if y.shape[:1] != (n_samples,):
            raise DataError(f"a batch of {n_samples} samples has targets of shape {y.shape}: give one to each")
        if n_samples == 0:
            return weights.zeros()
        if max_norm is None:
            flat = self._steps.gradient(x, y, self._sample_weights(batch, n_samples))
        else:
            self._refuse_statistics()
            self._separation.check(x)
            each = self._sample_weights(batch, n_samples)
            ones = np.ones(n_samples, weights.trainable.float_dtype) if each is None else each
            flat = self._steps.clipped_gradient(x, y, ones, Clipping(max_norm, per_tensor))
            if not np.isfinite(flat).all():
                raise DataError(UNBOUNDED)
        return TensorflowVector(weights.trainable, flat)

    def check_separate(self) -> None:
        self._known()
        self._refuse_statistics()
        shape = None if self._data_info is None else self._data_info.input_shape
        self._separation.check(self._inputs.blank(None if shape is None else tuple(shape[1:])))

    def apply_updates(self, updates: Vector) -> None:
        weights = self._known()
        if updates.layout is not weights.trainable:
            check_same(weights.trainable, updates.layout)
        weights.subtract(updates.flat)

    def trainable_view(self) -> TensorflowVector:
        return self._known().read_trainable()

    def forward(self, batch: Batch) -> Any:
        """A tensor, on the model's device."""
        self._known()
        return self._steps.outputs(self._inputs.flatten(batch.x))

    def loss_function(self, y_true: Array, raw: Any) -> Array:
        self._known()
        return self._steps.losses(self._targets.encode(y_true), raw)

    def to_predictions(self, raw: Any) -> Array:
        return predictions(raw, self._loss.task, from_logits=self._loss.from_logits)

    def update_device_policy(self, policy: DevicePolicy | None = None) -> None:
        device = _device(policy or get_device_policy())
        if device == self._device:
            return
        self._device = device
        if self._weights is not None:
            values = self._weights.read().to_numpy()
            self._build()
            self._known().write(values)

    def to_keras(self) -> keras.Model:
        """A new `keras.Model` with these weights."""
        made = self._recipe.build()
        if not made.built:
            build_for(made, self._shape())
        copy_weights(self._model, made)
        return made

    def _build(self) -> None:
        """Make the model again, on the device."""
        with tf.device(self._device):
            made = self._recipe.build()
        self._take(made)

    def _take(self, made: keras.Model, *, like: keras.Model | None = None) -> None:
        """Train this model from now on, as far as its shapes are known, with the weights of `like`."""
        self._model = made
        if not made.built and self._data_info is not None:
            with tf.device(self._device):
                build_for(made, self._shape())
        if like is not None and like.built:
            copy_weights(like, made)
        if made.built:
            self._assemble()

    def _assemble(self) -> None:
        named = named_variables(
            self._model, self._buffers, names_are_given=not isinstance(self._recipe.source, Factory)
        )
        self._weights = Weights(named, statistics_are_local=self._buffers == "local", device=self._device)
        if self._buffers == "frozen":
            freeze_statistics(self._model)
        self._inputs = Inputs(self._model, self._weights.layout.float_dtype)
        self._steps = Steps(
            self._model, self._weights, self._loss, self._inputs, device=self._device, jit=self._jit_compile
        )
        self._separation = Separation(self._model, self._inputs, device=self._device)
        self._mixing = [layer.name for layer in changing(self._model)]
        self._fit_targets()

    def _fit_targets(self) -> None:
        output = output_shape(self._model, None if self._data_info is None else self._data_info.input_shape)
        if output is not None:
            self._loss.check(output)
        self._targets = Targets(
            self._loss.task,
            dtype=self._known().layout.float_dtype,
            n_outputs=output[-1] if output else None,
            classes=None if self._data_info is None else self._data_info.classes,
            ignored=self._loss.ignored,
        )

    def _shape(self) -> tuple[int | None, ...]:
        shape = None if self._data_info is None else self._data_info.input_shape
        assert shape is not None, "asked only where the data info tells it"
        return (None, *shape[1:])

    def _known(self) -> Weights:
        if self._weights is None:
            raise ModelError(f"{self.name} has no weights yet: call initialize with the data info first")
        return self._weights

    def _refuse_statistics(self) -> None:
        if self._mixing:
            raise ModelError(
                f"gradients cannot be clipped sample by sample: layer {self._mixing[0]!r} computes with the statistics "
                "of the batch; use buffers='frozen', or a layer such as GroupNormalization in its place"
            )

    def _sample_weights(self, batch: Batch, n_samples: int) -> Array | None:
        if batch.weights is None:
            return None
        weights = np.asarray(batch.weights, self._known().layout.float_dtype)
        if weights.shape != (n_samples,) or not np.isfinite(weights).all():
            raise DataError(
                f"sample weights of shape {weights.shape} for {n_samples} samples: give a finite one to each"
            )
        return weights


def _device(policy: DevicePolicy) -> str:
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    index = resolve(policy, gpus, "tensorflow")
    return "CPU:0" if index is None else f"GPU:{index}"
