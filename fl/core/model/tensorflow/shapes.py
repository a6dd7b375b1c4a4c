"""Building a Keras model, copying its weights, and asking for the shape of its outputs."""

from typing import Any

import keras
import numpy as np

from fl.errors import ModelError

Shape = tuple[int | None, ...]


def build_for(model: Any, shape: Shape) -> None:
    """Make the weights, for inputs of this shape, whose first length is open. Raises `ModelError`."""
    if not isinstance(model, keras.Sequential):
        _run(model, shape)  # a subclassed model seldom has a `build` of its own
        return
    try:
        model.build(shape)
    except Exception as error:  # a layer raises whatever it likes on shapes it cannot take
        raise ModelError(f"the model cannot be built for samples of shape {shape[1:]}: {error}") from error


def copy_weights(source: Any, copy: Any) -> None:
    """Raises `ModelError` when the copy, made from the source's config, is not alike."""
    theirs, ours = source.weights, copy.weights
    if [_facts(variable) for variable in theirs] != [_facts(variable) for variable in ours]:
        raise ModelError(
            f"model {source.name!r}, made again from its config, has other weights: {_difference(theirs, ours)}; "
            "freeze whole layers rather than variables, and give every layer a get_config that tells all of it"
        )
    for variable, original in zip(ours, theirs, strict=True):
        variable.assign(original.value)


def output_shape(model: Any, input_shape: Shape | None) -> Shape | None:
    """Of one sample's output; None where only a batch could tell. Raises `ModelError` for several outputs."""
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):  # a subclassed model has none
        if input_shape is None:
            return None
        shape = getattr(_run(model, input_shape), "shape", None)
    if shape is None or not all(length is None or isinstance(length, int) for length in shape):
        raise ModelError("this model gives several outputs: a loss here is of one, so join them in one tensor")
    return tuple(shape[1:])


def _run(model: Any, input_shape: Shape) -> Any:
    samples = np.zeros((1, *(length or 1 for length in input_shape[1:])), "float32")
    try:
        return model(samples, training=False)
    except Exception as error:  # as above
        raise ModelError(f"the model does not run on samples of shape {input_shape[1:]}: {error}") from error


def _facts(variable: Any) -> tuple[Any, ...]:
    return tuple(variable.shape), variable.dtype, variable.trainable


def _difference(theirs: list[Any], ours: list[Any]) -> str:
    if len(theirs) != len(ours):
        return f"{len(ours)} of them, and not {len(theirs)}"
    left, right = next((a, b) for a, b in zip(theirs, ours, strict=True) if _facts(a) != _facts(b))
    return (
        f"{left.path} has shape {tuple(left.shape)}, {left.dtype}, trainable={left.trainable}, and its copy "
        f"{tuple(right.shape)}, {right.dtype}, trainable={right.trainable}"
    )
