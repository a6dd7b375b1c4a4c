"""Weights that a run starts from, where they are not the model's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl.core.checkpoint import Checkpointer
from fl.core.files import read_vector
from fl.core.model import Model
from fl.core.vector import Layout, NumpyVector, Vector, check_same
from fl.errors import ModelError
from fl.run.spec import ModelConfig


def load_initial(source: Vector | str | Path, model: Model | ModelConfig | Mapping[str, Any]) -> NumpyVector:
    """Weights from memory, from a safetensors file, or the best (else the latest) of a folder of checkpoints.

    They get the order and the roles of the model's own tensors, where these are known before there are data.
    Raises `ModelError` for what cannot be read, or does not fit the model.
    """
    if isinstance(source, Vector):
        where, weights = "the initial weights", source.to_numpy()
    else:
        where, weights = str(source), _read(Path(source))
    layout = _layout_of(model)
    return weights if layout is None else _arranged(weights, layout, where)


def weights_of(model: Model) -> NumpyVector | None:
    """The weights that a model has; None where it waits for the clients' data info to have any."""
    try:
        return model.get_weights().to_numpy()
    except ModelError:
        return None


def _read(path: Path) -> NumpyVector:
    if not path.is_dir():
        return read_vector(path)[0]
    which = "best" if (path / "best.safetensors").exists() else "latest"
    return Checkpointer(path).load(which).weights


def _layout_of(model: Model | ModelConfig | Mapping[str, Any]) -> Layout | None:
    if not isinstance(model, Model):
        config = ModelConfig.parse(model, "model")
        model = Model.registry.get(config.kind).from_config(config.config)
    weights = weights_of(model)
    return None if weights is None else weights.layout


def _arranged(weights: NumpyVector, layout: Layout, where: str) -> NumpyVector:
    """The same tensors in the order and the roles of `layout`."""
    arrays = weights.arrays()
    for name in (*layout.names, *arrays):
        if name not in arrays or name not in layout.names:
            told = "is missing" if name not in arrays else "is none of the model's"
            raise ModelError(f"{where}: tensor {name!r} {told}: these weights are of another model")
    ordered = {name: arrays[name] for name in layout.names}
    arranged = NumpyVector.from_arrays(ordered, {spec.name: spec.role for spec in layout.specs})
    try:
        check_same(layout, arranged.layout)
    except ValueError as error:
        raise ModelError(f"{where}: these weights are of another model: {error}") from None
    return arranged
