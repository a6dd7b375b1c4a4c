"""`python -m fl.examples.digits`: federated training at unlike sites, compared with training in one place."""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from broker.local import LocalRabbit
from fl.examples.digits.shares import CREDIT, deal
from fl.examples.digits.study import ALGORITHMS, FRAMEWORKS, NEAR, Result, central, federated, spec_of
from fl.examples.tables import show


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command."""

    frameworks: Sequence[str]
    algorithms: Sequence[str]
    rounds: int
    sites: int
    alpha: float
    seeds: Sequence[int]


def main() -> None:
    """Print one line as soon as it is known for each framework and algorithm, as a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m fl.examples.digits", description=__doc__)
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--rounds", type=int, default=40, help="rounds of two epochs")
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--alpha", type=float, default=0.3, help="how alike the sites are: the smaller, the less")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="the figures are means over these")
    parser.add_argument("--broker", action="store_true", help="through a private RabbitMQ, not in this process")
    parser.add_argument("--into", type=Path, help="also put the table into this file, between its digits markers")
    options = vars(parser.parse_args())
    through_rabbitmq, into = options.pop("broker"), options.pop("into")
    with ExitStack() as stack:
        url = stack.enter_context(LocalRabbit()).url if through_rabbitmq else f"memory://{uuid4().hex}"
        show(study(Asked(**options), url), name="digits", credit=CREDIT, into=into)


def study(asked: Asked, url: str) -> Iterator[str]:
    """The table, line by line."""
    yield f"| framework | training | accuracy on test images | rounds to within {NEAR} of central |"
    yield "| --- | --- | --- | --- |"
    for framework in asked.frameworks:
        alone = [_central(asked, framework, seed) for seed in asked.seeds]
        goals = [max(one.watched) - NEAR for one in alone]
        yield _line(framework, "central", alone, goals)
        for algorithm in asked.algorithms:
            results = [_federated(asked, framework, algorithm, seed, url) for seed in asked.seeds]
            yield _line(framework, algorithm, results, goals)


def _central(asked: Asked, framework: str, seed: int) -> Result:
    own = FRAMEWORKS[framework]
    spec = spec_of(own, "fedavg", rounds=asked.rounds, sites=asked.sites, seed=seed)
    return central(own, deal(sites=asked.sites, alpha=asked.alpha, seed=seed), spec)


def _federated(asked: Asked, framework: str, algorithm: str, seed: int, url: str) -> Result:
    own = FRAMEWORKS[framework]
    spec = spec_of(own, algorithm, rounds=asked.rounds, sites=asked.sites, seed=seed)
    return asyncio.run(federated(url, own, deal(sites=asked.sites, alpha=asked.alpha, seed=seed), spec))


def _line(framework: str, training: str, results: Sequence[Result], goals: Sequence[float]) -> str:
    """Means over the seeds; a run that never came near says so."""
    test = np.mean([one.test for one in results])
    needed = [one.rounds_to(goal) for one, goal in zip(results, goals, strict=True)]
    missed = sum(rounds is None for rounds in needed)
    reached = f"{np.mean([rounds for rounds in needed if rounds]):.0f}" if missed < len(needed) else ""
    never = f"{missed} of {len(needed)} never" if missed else ""
    return f"| {framework} | {training} | {test:.3f} | {', '.join(filter(None, (reached, never)))} |"


if __name__ == "__main__":
    main()
