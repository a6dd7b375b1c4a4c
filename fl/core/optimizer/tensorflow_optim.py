"""Any optimizer of Keras as a module."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.registry import nearest
from fl.core.vector import Vector
from fl.core.vector.tensorflow_vector import TensorflowVector
from fl.errors import ConfigError

REFUSED = {
    "Ftrl": "it computes weights and not updates",
    "LossScaleOptimizer": "it wraps another one",
    "MultiOptimizer": "it wraps others",
    "OptimizerMap": "it holds others",
    "ScheduleFreeAdamW": "it computes weights and not updates",
}
"""Classes of `keras.optimizers` that cannot be modules, and why."""


class TensorflowOptiModule(OptiModule):
    """What an optimizer of Keras 3, with a learning rate of 1, takes off variables that are zero.

    The variables have the shapes of the model's and start each step at zero, so terms that depend on their values
    have no effect: use the `w_decay` and regularizers of the optimizer around it. `optim` is an optimizer of
    `keras.optimizers`, its name, or its config as Keras serializes it, of which only `class_name` and `config` count.
    Gradients must be of TensorFlow.
    """

    name = "tensorflow-optim"

    def __init__(self, optim: str | Mapping[str, Any] | keras.optimizers.Optimizer) -> None:
        class_name, options = _described(optim)
        self._class = _lookup(class_name)
        for option in ("weight_decay", "use_ema"):
            if options.get(option):
                raise ConfigError(f"{self.name}: {option} has no effect here: switch it off, and set w_decay around it")
        self._options = {name: value for name, value in options.items() if name != "learning_rate"}
        self._build()  # so that options it does not take are found now
        self._optimizer: Any = None
        self._step: Any = None
        self._restored: list[Any] | None = None

    def get_config(self) -> dict[str, Any]:
        return {"optim": {"class_name": self._class.__name__, "config": dict(self._options)}}

    def run(self, gradients: Vector) -> Vector:
        if not isinstance(gradients, TensorflowVector):
            raise ConfigError(
                f"{self.name} needs gradients of TensorFlow, but got a {type(gradients).__name__}: "
                "use it with TensorFlow models"
            )
        with tf.device(gradients.device):
            if self._optimizer is None:
                self._prepare(gradients)
            return TensorflowVector(gradients.layout, self._step(list(gradients.arrays().values())), gradients.others)

    def _prepare(self, gradients: TensorflowVector) -> None:
        parts = gradients.arrays().values()
        weights = [keras.Variable(tf.zeros_like(part), dtype=part.dtype.name) for part in parts]
        optimizer = self._build()
        optimizer.build(weights)
        for variable, value in zip(optimizer.variables, self._restored or (), strict=False):
            variable.assign(value)

        def step(parts: list[Any]) -> Any:
            for weight in weights:
                weight.assign(tf.zeros_like(weight.value))
            optimizer.apply(parts, weights)
            return -tf.concat([tf.reshape(weight.value, [-1]) for weight in weights], 0)

        self._optimizer = optimizer
        self._step = tf.function(step, autograph=False)  # op by op it takes ten times as long

    def _build(self) -> Any:
        try:
            return self._class(learning_rate=1.0, **self._options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.name}: keras.optimizers.{self._class.__name__} refuses: {error}") from None

    def get_state(self) -> dict[str, Any]:
        if self._optimizer is None:
            return {"variables": self._restored}
        return {"variables": [np.array(variable.numpy()) for variable in self._optimizer.variables]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"variables"})
        self._restored = state["variables"]
        self._optimizer = self._step = None


def _described(optim: Any) -> tuple[str, Mapping[str, Any]]:
    """Name of the class, and its options."""
    if isinstance(optim, str):
        return optim, {}
    if isinstance(optim, keras.optimizers.Optimizer):
        return type(optim).__name__, optim.get_config()
    if isinstance(optim, Mapping) and isinstance(optim.get("class_name"), str):
        return optim["class_name"], optim.get("config", {})
    raise ConfigError(
        f'tensorflow-optim: optim is {optim!r}: give an optimizer of Keras, its name, or {{"class_name", "config"}}'
    )


def _lookup(class_name: str) -> Any:
    """A class of keras.optimizers, whatever the case of its name, looked up there and nowhere else."""
    base = keras.optimizers.Optimizer
    known = {
        name: cls
        for name, cls in vars(keras.optimizers).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base
    }
    found = next((name for name in known if name.lower() == class_name.lower()), None)
    if found is None:
        raise ConfigError(f"tensorflow-optim: {class_name!r} is none of keras.optimizers; {nearest(class_name, known)}")
    if found in REFUSED:
        raise ConfigError(f"tensorflow-optim: {found} cannot be a module: {REFUSED[found]}")
    return known[found]
