"""The variables of a Keras model as named tensors with roles.

A name is the path of layers to a variable, such as "dense/kernel". Keras numbers what nobody named with a counter of
the process; here the numbers count within their parent, so that a model has the same names in every process.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from fl.core.layout import FLOATS, OTHERS, Layout, Role, TensorSpec, check_same
from fl.core.vector import Vector
from fl.core.vector.tensorflow_vector import TensorflowVector
from fl.errors import ModelError

Buffers = Literal["average", "local", "frozen"]
"""What becomes of statistics such as BatchNorm's: shared and averaged, kept to each site, or never changed."""


class Named(NamedTuple):
    """One variable of a model."""

    name: str
    role: Role
    variable: Any
    is_statistic: bool
    """Whether running the model changes it, and not learning."""


def named_variables(model: Any, buffers: Buffers, *, names_are_given: bool) -> list[Named]:
    """The weights of a built model, by role. Raises `ModelError` for dtypes that a vector cannot hold.

    `names_are_given` says that the layers of Keras's own models have the names that a config gave them, and keep
    those. State of random generators is not among the weights.
    """
    found: list[Named] = []
    seen: set[int] = set()
    for path, layer in _walk(model, names_are_given):
        taken: set[str] = set()
        learned = layer._trainable_variables  # noqa: SLF001  # the public list mixes frozen parameters and statistics
        for variable in [*learned, *layer._non_trainable_variables]:  # noqa: SLF001  # likewise
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            name = "/".join((*path, _free(variable.name, taken)))
            is_parameter = any(variable is one for one in learned)
            is_statistic = not is_parameter and layer.trainable and variable.dtype in FLOATS
            role = Role.FIXED
            if is_parameter and variable.trainable and model.trainable:
                role = Role.TRAINABLE
            elif is_statistic and buffers == "average":
                role = Role.BUFFER
            found.append(Named(name, role, variable, is_statistic))
    return sorted(found, key=lambda named: list(Role).index(named.role))


def changing(model: Any) -> list[Any]:
    """The layers that change statistics of their own when the model runs on a batch to learn from."""
    return [
        layer
        for layer in layers_of(model)
        if layer.trainable and any(variable.dtype in FLOATS for variable in layer._non_trainable_variables)  # noqa: SLF001  # as above
    ]


def freeze_statistics(model: Any) -> None:
    """Have BatchNorm compute with its statistics as they are. Raises `ModelError` for other layers that have some.

    Keras does so for a layer that is not trainable; its parameters stay as trainable as they were.
    """
    for layer in changing(model):
        if not isinstance(layer, keras.layers.BatchNormalization):
            raise ModelError(
                f"buffers='frozen' can hold BatchNormalization still, but not layer {layer.name!r} of class "
                f"{type(layer).__name__}: use 'average' or 'local'"
            )
        before = [(variable, variable.trainable) for variable in layer.weights]
        layer.trainable = False
        for variable, trainable in before:
            variable.trainable = trainable


def generators(model: Any) -> list[Any]:
    """The states of the random generators that the layers own."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def layers_of(model: Any) -> list[Any]:
    """The model and every layer in it, however deep, each once."""
    return [layer for _, layer in _walk(model, names_are_given=False)]


def has_layer(model: Any, kind: type) -> bool:
    """Whether a layer of this class is anywhere in the model."""
    return any(isinstance(layer, kind) for layer in layers_of(model))


class Weights:
    """Reads and writes the variables of a model as vectors on its device. Raises `ModelError` for what is none."""

    def __init__(self, named: list[Named], *, statistics_are_local: bool, device: str) -> None:
        self._named = named
        self._device = device
        self._local = [one for one in named if one.is_statistic and statistics_are_local]
        self.layout = _layout(named)
        self.local = _layout(self._local)
        self.trainable = self.layout.select(Role.TRAINABLE)
        if not self.trainable.specs:
            raise ModelError("this model has no trainable weights, so there is nothing to learn")
        self.variables = [one.variable for one in named if one.role is Role.TRAINABLE]
        floats = tf.TensorSpec((self.trainable.float_size,), self.trainable.float_dtype)
        self._read = tf.function(self._flat, autograph=False, input_signature=[]).get_concrete_function()
        self._subtract = tf.function(self._take_off, autograph=False, input_signature=[floats]).get_concrete_function()

    def read_trainable(self) -> TensorflowVector:
        with tf.device(self._device):
            return TensorflowVector(self.trainable, self._read())

    def zeros(self) -> TensorflowVector:
        """A gradient of nothing."""
        with tf.device(self._device):
            return TensorflowVector(self.trainable, tf.zeros([self.trainable.float_size], self.trainable.float_dtype))

    def read(self, *roles: Role) -> TensorflowVector:
        """The tensors of these roles, or all, as a copy."""
        layout = self.layout.select(*roles) if roles else self.layout
        with tf.device(self._device):
            return _vector(layout, [one for one in self._named if not roles or one.role in roles])

    def write(self, vector: Vector) -> None:
        """Copy in the tensors of all the roles that the vector has. Raises `ValueError` naming what differs."""
        roles = vector.layout.roles
        check_same(self.layout.select(*roles), vector.layout)
        _assign([one for one in self._named if one.role in roles], vector)

    def read_local(self) -> TensorflowVector:
        """The statistics that each site keeps to itself."""
        with tf.device(self._device):
            return _vector(self.local, self._local)

    def write_local(self, vector: Vector) -> None:
        """Raises `ValueError` naming what differs."""
        check_same(self.local, vector.layout)
        _assign(self._local, vector)

    def subtract(self, flat: Any) -> None:
        """Take a buffer off the trainable weights, and apply the layers' constraints."""
        with tf.device(self._device):
            self._subtract(flat)

    def _flat(self) -> Any:
        return tf.concat([tf.reshape(variable.value, [-1]) for variable in self.variables], 0)

    def _take_off(self, flat: Any) -> None:
        for variable, part in zip(self.variables, tf.split(flat, self.trainable.float_sizes), strict=True):
            variable.value.assign_sub(tf.reshape(part, variable.shape))
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))


def _vector(layout: Layout, named: list[Named]) -> TensorflowVector:
    values = [one.variable.value for one in named]
    floats = [tf.reshape(value, [-1]) for value in values if value.dtype.is_floating]
    others = tuple(tf.identity(value) for value in values if not value.dtype.is_floating)
    return TensorflowVector(layout, tf.concat(floats, 0) if floats else tf.zeros([0]), others)


def _assign(named: list[Named], vector: Vector) -> None:
    arrays = vector.to_numpy().arrays()
    for one in named:
        one.variable.assign(arrays[one.name])


def _layout(named: list[Named]) -> Layout:
    for one in named:
        if one.variable.dtype not in FLOATS | OTHERS:
            raise ModelError(
                f"{one.name} is of {one.variable.dtype}, which cannot travel: use a dtype policy whose variables are "
                "float32, such as 'mixed_bfloat16'"
            )
    try:
        return Layout(tuple(TensorSpec(n.name, n.variable.dtype, tuple(n.variable.shape), n.role) for n in named))
    except ValueError as error:
        raise ModelError(f"{error}; give all layers one dtype policy, such as 'float32' or 'mixed_float16'") from None


def _walk(root: Any, names_are_given: bool) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every layer once, after its parent, with the names that lead to it."""
    seen: set[int] = set()

    def visit(path: tuple[str, ...], layer: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        yield path, layer
        keeps = names_are_given and _is_kerass_own_model(layer)
        taken: set[str] = set()
        for child in layer._layers:  # noqa: SLF001  # only models list theirs in public, wrappers and cells do not
            if id(child) not in seen:
                name = child.name if keeps and child.name not in taken else _free(child.name, taken)
                taken.add(name)
                yield from visit((*path, name), child)

    return visit((), root)


def _is_kerass_own_model(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and type(layer).__module__.startswith("keras.")


def _free(name: str, taken: set[str]) -> str:
    """`name` with a number, if any, that counts those of the same name in `taken`, to which it is added."""
    base = re.sub(r"_\d+$", "", name)
    free, number = base, 0
    while free in taken:
        number += 1
        free = f"{base}_{number}"
    taken.add(free)
    return free
