"""How a module or a loss is written in a config: by its structure, or as a pickle."""

import base64
import io
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fl.core.doors import admit_pickle
from fl.core.model.torch.structure import build_structure, describe_structure
from fl.errors import ModelError

logger = logging.getLogger(__name__)


def describe(module: nn.Module, what: str, *, pickles: bool) -> dict[str, Any]:
    """A module's structure, else its pickle where that is wanted. Raises `ModelError`."""
    try:
        return describe_structure(module)
    except ModelError as error:
        if not pickles:
            raise ModelError(
                f"{what} has no description that could travel: {error}. Give TorchModel.from_factory a function that "
                "makes it, or, where every site trusts you, allow_pickle=True"
            ) from None
    logger.warning("pickle_written what=%s", what)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    return {"pickle": base64.b64encode(buffer.getvalue()).decode()}


def build(config: Mapping[str, Any], what: str) -> nn.Module:
    """What `describe` described. Raises `ConfigError` for what the site does not allow, else `ModelError`."""
    if "pickle" not in config:
        return build_structure(config)
    admit_pickle(what)
    try:
        module = torch.load(io.BytesIO(base64.b64decode(config["pickle"])), map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise anything
        raise ModelError(f"{what} comes as a pickle that cannot be loaded here: {error!r}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{what} comes as a pickle of {type(module).__name__}, not of a torch.nn.Module")
    return module
