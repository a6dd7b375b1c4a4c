"""Several metrics, fed and merged together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from fl.core.metrics.api import Metric, Result, State
from fl.core.vector import Array
from fl.errors import ConfigError


class MetricSet:
    """Metrics over the same samples. Keys of the state are "<metric>/<field>"."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        """Raises `ConfigError` when two metrics have one name, since their states could not be told apart."""
        self.metrics = {metric.name: metric for metric in metrics}
        if len(self.metrics) < len(metrics):
            twice = next(name for name, count in Counter(metric.name for metric in metrics).items() if count > 1)
            raise ConfigError(f"metric {twice!r} is asked for twice")

    @classmethod
    def from_specs(cls, specs: Sequence[Any]) -> Self:
        """Build from instances, names or `(name, config)` pairs. Raises `ConfigError`."""
        return cls([Metric.registry.build(spec) for spec in specs])

    def get_config(self) -> list[Any]:
        """What `from_specs` builds the same set from, as values JSON can carry."""
        return [[metric.name, metric.get_config()] for metric in self.metrics.values()]

    def update(self, y_true: Any, y_pred: Any, weights: Any = None, *, losses: Any = None) -> None:
        """Feed some samples to every metric. Raises `DataError`, and `ConfigError` when losses are missing."""
        for metric in self.metrics.values():
            if metric.of_losses and losses is None:
                raise ConfigError(f"metric {metric.name!r} measures losses, and none were given")
            metric.update(y_true, losses if metric.of_losses else y_pred, weights)

    def bounds(self, *, loss: float) -> dict[str, float]:
        """How much one sample can add to each field of those metrics that have bounds (`Metric.bounds`)."""
        found = {name: metric.bounds(loss=loss) or {} for name, metric in self.metrics.items()}
        return {f"{name}/{field}": bound for name, bounds in found.items() for field, bound in bounds.items()}

    def get_state(self) -> State:
        states = {name: metric.get_state() for name, metric in self.metrics.items()}
        return {f"{name}/{field}": value for name, state in states.items() for field, value in state.items()}

    def merge(self, state: Mapping[str, Array]) -> None:
        """Add another set's state. Raises `ValueError`, and then nothing has changed."""
        expected = self.get_state()
        for key in state.keys() | expected.keys():
            if key not in state or key not in expected:
                raise ValueError(f"states of metrics differ: {key!r} is only in one of them")
            if state[key].shape != expected[key].shape:
                raise ValueError(f"states of metrics differ: {key!r} is {state[key].shape}, not {expected[key].shape}")
        for name, metric in self.metrics.items():
            metric.merge({field: state[f"{name}/{field}"] for field in metric.get_state()})

    def result(self) -> Result:
        """Values of all metrics by their own names; "<metric>/<value>" for a name that several have, as "n"."""
        results = {name: metric.result() for name, metric in self.metrics.items()}
        count = Counter(value for result in results.values() for value in result)
        return {
            f"{name}/{key}" if key == "n" or count[key] > 1 else key: value
            for name, result in results.items()
            for key, value in result.items()
        }

    def reset(self) -> None:
        for metric in self.metrics.values():
            metric.reset()
