"""Who is asked in a training round, where not all are: samplers, each a pure function of what the log tells.

`rng` is seeded from the run and the round alone, so that every leader chooses the same clients. Samplers draw from
it by `rng.random` only, whose stream numpy keeps the same from release to release.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from fl.core.registry import Registered, Registry, nearest
from fl.errors import ConfigError
from fl.run.events import ClientResult
from fl.run.share import as_share
from fl.run.share import count as count_of


@dataclass(frozen=True, slots=True)
class Past:
    """What the log tells of a client's rounds so far."""

    asked: int = 0
    """Training rounds that it was asked for."""
    trained: ClientResult | None = None
    """Its part in the last training round that counts it."""
    loss: float | None = None
    """Of the last weights that it evaluated on its own data."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A client that could be asked."""

    name: str
    n_samples: int = 0
    """Of its data, as it told when it joined."""
    past: Past = Past()


class ClientSampler(Registered, ABC, register=False):
    """Chooses the clients of a round. The same arguments give the same clients, whoever asks, and whenever."""

    registry: ClassVar[Registry["ClientSampler"]] = Registry(
        "client sampler",
        {
            "criterion": "fl.run.sampling:CriterionSampler",
            "uniform": "fl.run.sampling:UniformSampler",
            "weighted": "fl.run.sampling:WeightedSampler",
        },
    )
    needs_losses: bool = False
    """Whether it looks at losses, so that a run without evaluations gives it nothing to go by."""

    @abstractmethod
    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        """Names of `count` of the candidates, which come in the order of their names and are at least so many."""


class UniformSampler(ClientSampler):
    """Every client is as likely as any other."""

    name = "uniform"

    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        return drawn(dict.fromkeys(_names(candidates), 1.0), count, rng)


class WeightedSampler(ClientSampler):
    """Clients are drawn one after the other, each in proportion to its weight among those that are left.

    A weight is the client's number of samples or, with `weights`, what stands there under its name, and 1 where
    nothing does. A client of weight 0 is drawn only when no other is left.
    """

    name = "weighted"

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights = None if weights is None else dict(weights)
        for client, weight in (self.weights or {}).items():
            if isinstance(weight, bool) or not (isinstance(weight, int | float) and 0 <= weight < math.inf):
                raise ConfigError(
                    f"weighted: the weight of client {client!r} is {weight!r}: use a number of at least 0"
                )

    def get_config(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        return drawn({one.name: self._weight(one) for one in candidates}, count, rng)

    def _weight(self, candidate: Candidate) -> float:
        return float(candidate.n_samples if self.weights is None else self.weights.get(candidate.name, 1.0))


SCORES: Final[Mapping[str, Callable[[Candidate], float | None]]] = {
    "train-time": lambda one: None if one.past.trained is None else -one.past.trained.seconds,
    "loss": lambda one: one.past.loss,
    "update-norm": lambda one: None if one.past.trained is None else one.past.trained.update_norm,
    "n-samples": lambda one: float(one.n_samples),
}
"""What each criterion looks at; the highest comes first. None: nothing is known of that client yet."""


class CriterionSampler(ClientSampler):
    """The first by a criterion, and a share of others by chance.

    "train-time": who trained fastest in its last round. "loss": whose last local loss is highest. "update-norm":
    whose last update was largest. "n-samples": who has most samples. Ties are broken by chance. A client that
    nothing is known of comes first, unless it was asked before: then it has let others wait in vain, and comes last.

    `explore` of the chosen clients, on average, are drawn uniformly instead: a criterion alone would ask whom it
    once left out never again. With `pool`, the criterion chooses among so many candidates, drawn in proportion to
    their numbers of samples: with "loss" this is Power-of-Choice (Cho, Wang & Joshi 2020, section 3).
    """

    name = "criterion"

    def __init__(self, criterion: str, explore: float = 0.1, pool: float = 1.0) -> None:
        if criterion not in SCORES:
            raise ConfigError(f"criterion: unknown criterion {criterion!r}; {nearest(criterion, SCORES)}")
        if not isinstance(explore, int | float) or not 0 <= explore <= 1:
            raise ConfigError(f"criterion: explore is {explore!r}: use a number from 0 to 1")
        self.criterion = criterion
        self.explore = explore
        self.pool = as_share(pool)
        self.needs_losses = criterion == "loss"

    def get_config(self) -> dict[str, Any]:
        return {"criterion": self.criterion, "explore": self.explore, "pool": self.pool}

    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        pool = max(count, count_of(self.pool, len(candidates)))
        names = set(drawn({one.name: float(one.n_samples) for one in candidates}, pool, rng))
        ranked = sorted((one for one in candidates if one.name in names), key=lambda one: self._rank(one, rng.random()))
        n_explored = math.floor(self.explore * count + rng.random())
        first = _names(ranked)[: count - n_explored]
        others = dict.fromkeys((name for name in _names(candidates) if name not in first), 1.0)
        return [*first, *drawn(others, count - len(first), rng)]

    def _rank(self, candidate: Candidate, chance: float) -> tuple[int, float, float]:
        score = SCORES[self.criterion](candidate)
        if score is not None and math.isfinite(score):
            return 1, -score, chance
        unknown = score is None and candidate.past.asked == 0
        return (0 if unknown else 2), 0.0, chance


def drawn(weights: Mapping[str, float], count: int, rng: np.random.Generator) -> list[str]:
    """`count` of the names, drawn without replacement: the next is drawn in proportion to the weights of the rest.

    Those with the largest keys u^(1/weight), u uniform (Efraimidis & Spirakis 2006, algorithm A), in logarithms.
    """
    keys = {name: (_log_key(weight, 1.0 - rng.random()), rng.random()) for name, weight in weights.items()}
    return sorted(weights, key=lambda name: keys[name], reverse=True)[:count]


def _log_key(weight: float, u: float) -> float:
    return math.log(u) / weight if weight > 0 else -math.inf


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [one.name for one in candidates]
