"""Weighted averaging: FedAvg and its kin (McMahan et al. 2017)."""

import math
from collections.abc import Mapping
from typing import Any

from fl.core.aggregator.weighted import SummingAggregator, SummingFold, WeightedFold
from fl.core.layout import Layout
from fl.errors import ConfigError


class AveragingAggregator(SummingAggregator):
    """Σ weight_i·update_i / Σ weight_i, with weight_i = n_steps_i · client_weights.get(client_i, 1).

    With `steps_weighted=False` every client counts as one step. With `samples_weighted=True` its number of samples
    takes the place of its number of steps, as in FedAvg's paper. Weights of clients that never show up do nothing.
    """

    name = "averaging"

    def __init__(
        self,
        steps_weighted: bool = True,
        client_weights: Mapping[str, float] | None = None,
        samples_weighted: bool = False,
    ) -> None:
        self.steps_weighted = steps_weighted
        self.client_weights = dict(client_weights or {})
        self.samples_weighted = samples_weighted
        for client, weight in self.client_weights.items():
            if not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"{self.name}: the weight of client {client!r} is {weight!r}: use a number >= 0")

    def get_config(self) -> dict[str, Any]:
        return {
            "steps_weighted": self.steps_weighted,
            "client_weights": dict(self.client_weights),
            "samples_weighted": self.samples_weighted,
        }

    def weight(self, *, client: str, n_steps: int, n_samples: int) -> float:
        """How much a client counts; a client without steps has done nothing and counts for nothing."""
        if n_steps == 0:
            return 0.0
        work = n_samples if self.samples_weighted else n_steps if self.steps_weighted else 1
        return float(work * self.client_weights.get(client, 1.0))

    def start(self, layout: Layout) -> SummingFold:
        return WeightedFold(self.weight, layout)
