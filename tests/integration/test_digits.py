"""Unlike sites learn together nearly what one place with all images learns: every algorithm, on every framework."""

import numpy as np
import pytest

from fl.examples.digits.shares import deal
from fl.examples.digits.study import ALGORITHMS, FRAMEWORKS, NEAR, Result, central, federated, spec_of
from fl.run.spec import RunSpec

SITES = 5
SEEDS = {"scikit-learn": (0, 1, 2), "torch": (0,), "Keras": (0,)}
"""A linear model is quick, and its accuracy differs more from seed to seed."""
ROUNDS = 40


@pytest.mark.rabbitmq
@pytest.mark.timeout(600)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_every_algorithm_comes_near_central_training(rabbit_url: str, framework: str) -> None:
    # Given digits dealt to five sites by Dirichlet mixtures of labels
    own, seeds = FRAMEWORKS[framework], SEEDS[framework]
    dealt = {seed: deal(sites=SITES, alpha=0.3, seed=seed) for seed in seeds}

    def spec(algorithm: str, seed: int) -> RunSpec:
        return spec_of(own, algorithm, rounds=ROUNDS, sites=SITES, seed=seed)

    # When they are learned in one place, and by each algorithm over RabbitMQ
    alone = [central(own, dealt[seed], spec("fedavg", seed)) for seed in seeds]
    together: dict[str, list[Result]] = {
        algorithm: [await federated(rabbit_url, own, dealt[seed], spec(algorithm, seed)) for seed in seeds]
        for algorithm in ALGORITHMS
    }

    # Then on test images that nobody has seen each is within three hundredths
    central_accuracy = _mean(alone)
    for algorithm, results in together.items():
        assert _mean(results) >= central_accuracy - NEAR, algorithm
    # And SCAFFOLD needs no more rounds than FedAvg to come as near on what was watched
    assert _rounds(together["scaffold"], alone) <= _rounds(together["fedavg"], alone)


def _mean(results: list[Result]) -> float:
    return float(np.mean([one.test for one in results]))


def _rounds(results: list[Result], alone: list[Result]) -> float:
    """Mean number of rounds; a run that never comes near needs one more than it had."""
    needed = [one.rounds_to(max(goal.watched) - NEAR) for one, goal in zip(results, alone, strict=True)]
    return float(np.mean([rounds or ROUNDS + 1 for rounds in needed]))
