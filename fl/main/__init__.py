"""Whole processes of federated learning: a server's script, a client's script, and all in one process."""

from fl.main import config
from fl.main.client import FederatedClient
from fl.main.outcome import Outcome
from fl.main.server import FederatedServer

__all__ = ["FederatedClient", "FederatedServer", "Outcome", "config"]
