"""One part of each kind for Fluffle, from a package of its own: defining a class registers its name."""

from .aggregator import TemperedAveraging
from .dataset import EventCounts
from .metric import PoissonDeviance
from .model import PoissonRegression
from .modules import MeanNormClipping, MeanNormServer
from .regularizer import SmoothLasso
from .sampler import InTurn
from .scheduler import InverseRoot

__all__ = [
    "EventCounts",
    "InTurn",
    "InverseRoot",
    "MeanNormClipping",
    "MeanNormServer",
    "PoissonDeviance",
    "PoissonRegression",
    "SmoothLasso",
    "TemperedAveraging",
]
