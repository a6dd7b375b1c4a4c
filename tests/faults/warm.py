"""Imported by the process that forks victims, so that none of them has to begin with what it needs."""

from importlib import import_module
from typing import Final

from tests.faults.stage import CLIENTS, N_FEATURES, data_of

NEEDED: Final = (
    "broker.rabbitmq",
    "fl.client.desk",
    "fl.core.model.sklearn",
    "fl.core.optimizer.adam",
    "fl.core.optimizer.momentum",
    "fl.core.optimizer.scaffold",
    "safetensors.numpy",
    "tests.faults.soak_play",
    "tests.faults.victim",
)
"""Modules; most of them are otherwise imported when a run names them."""

for _module in NEEDED:
    import_module(_module)
for _client in CLIENTS:
    data_of(_client, N_FEATURES)
