"""`python -m fl.examples.central_privacy`: what it costs in accuracy to protect clients as a whole.

The digits dealt to hundreds of clients, a pair of images each, who learn a softmax regression together, in this process
and without a broker. Noise is for one client, so that many in a round are what makes it small. Needs
fluffle[sklearn,dp].
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_digits

from fl.client.learner import Data
from fl.core.dataset import Batch
from fl.core.dataset.split import iid
from fl.core.model import Model
from fl.examples.digits.shares import CREDIT, Digits
from fl.examples.tables import show
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.releases import planned
from fl.run.spec import RunSpec

MODEL: Final = {"kind": "sklearn-sgd", "config": {"kind": "classifier", "loss": "log_loss", "penalty": None}}


@dataclass(frozen=True, slots=True)
class Task:
    """How they learn: what does well without privacy, of what was tried."""

    clients: int = 700
    rounds: int = 50
    rate: float = 0.1
    """The probability that a client is asked in a round."""
    lrate: float = 2.0
    n_steps: int = 4
    """Of a client in a round, each with all its images."""
    delta: float = 1e-4


@dataclass(frozen=True, slots=True)
class Way:
    """How updates are clipped."""

    name: str
    clip_norm: float
    adaptive: bool = False


WAYS: Final = (
    Way("clip norm 3", 3.0),
    Way("clip norm 10", 10.0),
    Way("adaptive, from 10", 10.0, adaptive=True),
    Way("adaptive, from 0.1", 0.1, adaptive=True),
)


def main() -> None:
    """Print a table in Markdown, each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m fl.examples.central_privacy", description=__doc__)
    usual = Task()
    parser.add_argument("--clients", type=int, default=usual.clients)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--rate", type=float, default=usual.rate, help="probability that a client is asked in a round")
    parser.add_argument("--delta", type=float, default=usual.delta)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[8.0, 2.0], help="budgets, one a line")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the figures are means over these")
    parser.add_argument("--into", type=Path, help="also put the table there, between its central-privacy markers")
    options = vars(parser.parse_args())
    epsilons, seeds, into = (options.pop(name) for name in ("epsilons", "seeds", "into"))
    show(study(Task(**options), epsilons, seeds), name="central-privacy", credit=CREDIT, into=into)


def study(task: Task, epsilons: Sequence[float], seeds: Sequence[int]) -> Iterator[str]:
    """The table, line by line: how often the last weights are right about images that nobody has seen."""
    columns = ["epsilon", "noise multiplier", "no clipping", *(way.name for way in WAYS)]
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    yield f"| none | 0 | {mean_accuracy(task, spec_of(task, None), seeds)} | {' | '.join([''] * len(WAYS))} |"
    for epsilon in epsilons:
        specs = [spec_of(task, private(way, epsilon, task.delta)) for way in WAYS]
        noise = specs[0].run.central_privacy
        assert noise is not None, "the spec of a private run says so"
        figures = (mean_accuracy(task, spec, seeds) for spec in specs)
        yield f"| {epsilon:g} | {noise.z:.2f} | | {' | '.join(figures)} |"


def private(way: Way, epsilon: float, delta: float) -> dict[str, Any]:
    """Central privacy of this budget, as a run's table has it."""
    return {"budget": (epsilon, delta), "clip_norm": way.clip_norm, "adaptive": way.adaptive, "spare_sums": 0}


def spec_of(task: Task, privacy: Mapping[str, Any] | None) -> RunSpec:
    """All clients count the same, with privacy and without."""
    run = {
        "rounds": task.rounds,
        "register": task.clients,
        "sampling": task.rate,
        "evaluate": False,
        "training": {"batch_size": 64, "n_steps": task.n_steps, "drop_remainder": False},
        "seed": 1,
    }
    central = {} if privacy is None else {"central_privacy": privacy}
    optim = {"client_opt": task.lrate, "aggregator": {"name": "averaging", "steps_weighted": False}}
    return planned(RunSpec.parse({"name": "pairs", "model": MODEL, "optim": optim, "run": {**run, **central}}, "pairs"))


def mean_accuracy(task: Task, spec: RunSpec, seeds: Sequence[int]) -> str:
    found = [accuracy_after(task, spec, seed) for seed in seeds]
    return f"{np.mean(found):.3f}"


def accuracy_after(task: Task, spec: RunSpec, seed: int) -> float:
    """Accuracy on the images of nobody, of the weights that a run leaves. The noise too is that of the seed."""
    dealt, test = deal(task.clients, seed)
    secret = hashlib.sha256(f"no secret at all: {seed}".encode()).digest()
    clients = [VirtualClient(name, Data(digits.dataset("row"))) for name, digits in dealt.items()]
    weights = simulate(spec, clients, run="pairs", secret=secret).require().weights
    assert weights is not None, "a run that finished has weights"
    model: Model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(test.dataset("row").get_data_specs())
    model.set_weights(weights)
    y_true, scores, _ = model.compute_batch_predictions(Batch(test.images("row"), test.y))
    return float(np.mean(np.argmax(scores, axis=1) == y_true))


def deal(n_clients: int, seed: int) -> tuple[dict[str, Digits], Digits]:
    """Four fifths of the images, dealt at random to clients, and the fifth that is left."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    digits = Digits((images / 16).astype(np.float32), labels.astype(np.int64))[rng.permutation(len(labels))]
    train, test = np.split(np.arange(len(digits)), [4 * len(digits) // 5])
    shares = iid(len(train), n_clients, rng=rng)
    return {f"client-{number:04}": digits[share] for number, share in enumerate(shares)}, digits[test]


if __name__ == "__main__":
    main()
