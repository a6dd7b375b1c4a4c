"""Models: what is trained, whatever framework it is written in."""

from fl.core.model.api import Model

__all__ = ["Model"]
