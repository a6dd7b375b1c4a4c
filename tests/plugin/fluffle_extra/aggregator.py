"""An aggregator: how updates become one."""

from fl.aggregator import Aggregator
from fl.core.mergeable import WeightedSum
from fl.core.vector import Vector


class TemperedAveraging(Aggregator):
    """Σ weight_i·update_i / Σ weight_i, with weight_i = n_samples_i ** power: 1 is FedAvg, 0 counts all the same."""

    name = "tempered-averaging"

    def __init__(self, power: float = 0.5) -> None:
        self.power = power  # under the argument's name, so that the config which travels has it

    def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> WeightedSum:
        weight = n_samples**self.power if n_steps else 0.0  # without a step there is nothing to count
        exact = update.to_numpy().astype("float64")
        return WeightedSum(exact * weight, weight, update.layout.float_dtype)
