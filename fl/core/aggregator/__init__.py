"""How the updates of many clients become one."""

from fl.core.aggregator.api import Aggregator, Fold
from fl.core.aggregator.averaging import Averaging

__all__ = ["Aggregator", "Averaging", "Fold"]
