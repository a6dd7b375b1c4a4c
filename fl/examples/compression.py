"""`python -m fl.examples.compression`: what compression costs in accuracy, and what it saves in bytes.

The digits at five unlike sites (`fl.examples.digits`), trained by FedAvg in this process and without a broker: what
travels is encoded and decoded as it would be.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fl.client.learner import Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.core.compression import Bfloat16, Compression, Feedback, Float16, Int8, TopK, Uncompressed
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.examples.digits.shares import CREDIT, Shares, deal
from fl.examples.digits.study import FRAMEWORKS, Framework, accuracy, spec_of
from fl.run.spec import RunSpec
from fl.server.fold import aggregator_of

NONE: Final = Uncompressed()


@dataclass(frozen=True, slots=True)
class Way:
    """How updates travel up, and weights down."""

    up: Compression = NONE
    down: Compression = NONE
    has_feedback: bool = True
    """Whether a site adds what one update left out to its next."""


WAYS: Final[Mapping[str, Way]] = {
    "none": Way(),
    "bf16": Way(Bfloat16(), Bfloat16()),
    "fp16": Way(Float16(), Float16()),
    "int8": Way(Int8(), Int8()),
    "int8 up": Way(Int8()),
    "int8 up, no feedback": Way(Int8(), has_feedback=False),
    "topk 0.1 up": Way(TopK(0.1)),
    "topk 0.1 up, no feedback": Way(TopK(0.1), has_feedback=False),
    "topk 0.01 up": Way(TopK(0.01)),
    "topk 0.01 up, no feedback": Way(TopK(0.01), has_feedback=False),
}


class Sender:
    """One site's updates on their way."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._feedback = Feedback(way.up)

    def send(self, update: NumpyVector) -> NumpyVector:
        """What arrives."""
        payload = self._feedback.compress(update) if self._way.has_feedback else self._way.up.encode(update)
        return self._way.up.decode(update.layout, payload)


def main() -> None:
    """Print a table in Markdown, each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m fl.examples.compression", description=__doc__)
    parser.add_argument("--framework", choices=FRAMEWORKS, default="scikit-learn")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of two epochs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the figures are means over these")
    options = parser.parse_args()
    for line in study(FRAMEWORKS[options.framework], rounds=options.rounds, seeds=options.seeds):
        print(line, flush=True)  # noqa: T201  # the command's output
    print(f"\nData: {CREDIT}.")  # noqa: T201  # likewise


def study(framework: Framework, *, rounds: int, seeds: Sequence[int]) -> Iterator[str]:
    """The table, line by line: bytes of one client's round, and how often the last weights are right."""
    yield f"| compression | bytes up | bytes down | accuracy after {rounds} rounds | of each seed |"
    yield "| --- | --- | --- | --- | --- |"
    for name, way in WAYS.items():
        runs = [_run(framework, way, rounds=rounds, seed=seed) for seed in seeds]
        reached = [right for _, right in runs]
        layout = runs[0][0].layout
        each = ", ".join(f"{right:.3f}" for right in reached)
        sizes = f"{way.up.nbytes(layout):,} | {way.down.nbytes(layout):,}"
        yield f"| {name} | {sizes} | {np.mean(reached):.3f} | {each} |"


def _run(framework: Framework, way: Way, *, rounds: int, seed: int) -> tuple[NumpyVector, float]:
    spec = spec_of(framework, "fedavg", rounds=rounds, sites=5, seed=seed)
    shares = deal(seed=seed)
    weights = federated(spec, shares, framework, way)
    return weights, accuracy(spec, weights, framework, shares)


def federated(spec: RunSpec, shares: Shares, framework: Framework, way: Way) -> NumpyVector:
    """The weights after all rounds of FedAvg: the server's own, which it never rounds."""
    info = shares.of_all(framework.form).train.get_data_specs()
    model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(info)
    weights = model.get_weights().to_numpy()
    shared = Shared(info, weights.layout)
    learners = {site: _learner(site, spec, shared, shares, framework) for site in shares.train}
    senders = {site: Sender(way) for site in shares.train}
    for round_ in range(1, spec.run.rounds + 1):
        received = way.down.decode(weights.layout, way.down.encode(weights))
        fold = aggregator_of(spec).start(weights.layout)
        for site, learner in learners.items():
            trained = learner.train(round_, received, counted=round_ - 1)
            update = senders[site].send(trained.update)
            fold.add(update, client=site, n_steps=trained.result.n_steps, n_samples=trained.result.n_samples)
        mean = fold.finish()
        assert mean is not None, "all sites have trained"
        weights = weights - mean
    return weights


def _learner(site: str, spec: RunSpec, shared: Shared, shares: Shares, framework: Framework) -> Learner:
    return Learner(
        spec,
        shared,
        shares.of(site, framework.form),
        seed=shared_seed(spec.run.seed or 0, site),
        run="",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )


if __name__ == "__main__":
    main()
