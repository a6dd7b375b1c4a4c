"""A client sampler: whom a round asks, where not all are."""

from collections.abc import Sequence

import numpy as np

from fl.run.sampling import Candidate, ClientSampler


class InTurn(ClientSampler):
    """Those who were asked least often, and of equals the first by name: everybody's turn comes."""

    name = "in-turn"

    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        by_turn = sorted(candidates, key=lambda one: (one.past.asked, one.name))
        return [one.name for one in by_turn[:count]]
