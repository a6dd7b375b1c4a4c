"""Unlike sites learn together nearly what one place with all images learns: every algorithm, on every framework."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fl.examples.digits.shares import deal
from fl.examples.digits.study import ALGORITHMS, FRAMEWORKS, NEAR, Framework, Result, central, federated, spec_of
from fl.run.spec import RunSpec

SITES = 5
THROUGH_RABBITMQ = "scaffold"
"""Tells the most: control variates beside weights. A broker changes no bit of a run, so the others need none."""


@dataclass(frozen=True, slots=True)
class Study:
    """What one framework learns with, for how long, and how many deals of the digits are averaged."""

    own: Framework
    rounds: int
    seeds: tuple[int, ...]


STUDIES = {
    # a linear model is quick, bears a higher rate, and its accuracy differs more from seed to seed
    "scikit-learn": Study(replace(FRAMEWORKS["scikit-learn"], lrate=0.4), rounds=20, seeds=(0, 1, 2)),
    "torch": Study(FRAMEWORKS["torch"], rounds=40, seeds=(0,)),
    "Keras": Study(FRAMEWORKS["Keras"], rounds=40, seeds=(0,)),
}


@pytest.mark.rabbitmq
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_every_algorithm_comes_near_central_training(rabbit_url: str, memory_url: str, framework: str) -> None:
    # Given digits dealt to five sites by Dirichlet mixtures of labels
    study = STUDIES[framework]
    own, seeds = study.own, study.seeds
    dealt = {seed: deal(sites=SITES, alpha=0.3, seed=seed) for seed in seeds}

    def spec(algorithm: str, seed: int) -> RunSpec:
        return spec_of(own, algorithm, rounds=study.rounds, sites=SITES, seed=seed)

    async def learn(algorithm: str, seed: int) -> Result:
        url = rabbit_url if algorithm == THROUGH_RABBITMQ else memory_url
        return await federated(url, own, dealt[seed], spec(algorithm, seed))

    # When they are learned in one place, and by each algorithm
    alone = [central(own, dealt[seed], spec("fedavg", seed)) for seed in seeds]
    together: dict[str, list[Result]] = {
        algorithm: [await learn(algorithm, seed) for seed in seeds] for algorithm in ALGORITHMS
    }

    # Then on test images that nobody has seen each is within three hundredths
    central_accuracy = _mean(alone)
    for algorithm, results in together.items():
        assert _mean(results) >= central_accuracy - NEAR, algorithm
    # And SCAFFOLD needs no more rounds than FedAvg to come as near on what was watched
    assert _rounds(together["scaffold"], alone, of=study.rounds) <= _rounds(together["fedavg"], alone, of=study.rounds)


def _mean(results: list[Result]) -> float:
    return float(np.mean([one.test for one in results]))


def _rounds(results: list[Result], alone: list[Result], *, of: int) -> float:
    """Mean number of rounds; a run that never comes near needs one more than it had."""
    needed = [one.rounds_to(max(goal.watched) - NEAR) for one, goal in zip(results, alone, strict=True)]
    return float(np.mean([rounds or of + 1 for rounds in needed]))
