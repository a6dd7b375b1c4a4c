"""`python -m fl.examples.privacy`: what differential privacy costs in accuracy, beside Opacus in one place.

The digits at five sites (`fl.examples.digits`) that train privately, in this process and without a broker; and Opacus's
own engine, which trains the same network for as many epochs on as many images as one site has. Each sample has the same
privacy in all. Sites that are unlike pull against each other, which takes a higher rate than one place alone bears.
Needs fluffle[torch,dp].
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.core.vector import Array
from fl.examples.digits.shares import CREDIT, Digits, Shares, deal, union
from fl.examples.digits.study import FRAMEWORKS, accuracy, model_of, spec_of
from fl.examples.tables import show
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.spec import RunSpec

SITES: Final = 5
UNLIKE: Final = 0.3
ALIKE: Final = 1e4
"""How alike the labels of the sites are, as `deal` has it."""
RATES: Final = (0.5, 1.0, 2.0)
OWN: Final = FRAMEWORKS["torch"]


@dataclass(frozen=True, slots=True)
class Task:
    """How all of them train: what Opacus does well with, of what was tried."""

    rounds: int = 20
    batch_size: int = 64
    lrate: float = 0.5
    sclip_norm: float = 1.0
    epsilon: float = 8.0
    delta: float = 1e-5
    n_epoch: int = 2
    """Of a round."""


def main() -> None:
    """Print a table in Markdown, each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m fl.examples.privacy", description=__doc__)
    usual = Task()
    parser.add_argument("--epsilon", type=float, default=usual.epsilon)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--batch-size", type=int, default=usual.batch_size)
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="learning rates, one a column")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the figures are means over these")
    parser.add_argument("--into", type=Path, help="also put the table into this file, between its privacy markers")
    options = vars(parser.parse_args())
    rates, seeds, into = (options.pop(name) for name in ("rates", "seeds", "into"))
    show(study(Task(**options), rates, seeds), name="privacy", credit=CREDIT, into=into)


def study(task: Task, rates: Sequence[float], seeds: Sequence[int]) -> Iterator[str]:
    """The table, line by line: how often the last weights are right about images that nobody has seen."""
    columns = [f"training at epsilon {task.epsilon:g}", "images", *(f"rate {rate:g}" for rate in rates)]
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    for name, images, train in WAYS:
        means = [np.mean([train(replace(task, lrate=rate), seed) for seed in seeds]) for rate in rates]
        yield f"| {name} | {images} | {' | '.join(f'{mean:.3f}' for mean in means)} |"


def opacus_alone(task: Task, seed: int) -> float:
    """Accuracy of the network that Opacus trains on as many of all images as a site has."""
    shares = one_site(seed)
    scores = _opacus_scores(union(shares.train), shares.test.images(OWN.form), task, seed=seed)
    return float(np.mean(scores.argmax(axis=1) == shares.test.y))


def one_site(seed: int) -> Shares:
    """A fifth of all images, drawn at random: with the same labels as all of them, unlike a site's own."""
    shares = deal(sites=SITES, alpha=UNLIKE, seed=seed)
    images = union(shares.train)
    chosen = images[np.random.default_rng(seed).permutation(len(images))[: len(images) // SITES]]
    return Shares({"alone": chosen}, {"alone": union(shares.valid)}, shares.test)


def federated(shares: Shares, task: Task, *, seed: int) -> float:
    """Accuracy of FedAvg over private sites."""
    spec = private_spec(task, sites=len(shares.train), seed=seed)
    sites = [VirtualClient(site, shares.of(site, OWN.form)) for site in shares.train]
    outcome = simulate(spec, sites, weights=model_of(spec, OWN, shares).get_weights().to_numpy())
    weights = outcome.require().weights
    assert weights is not None, "a run that finished has weights"
    return accuracy(spec, weights, OWN, shares)


def private_spec(task: Task, *, sites: int, seed: int) -> RunSpec:
    """Plain SGD at the sites; the weights of the last round are the result, as they are Opacus's."""
    tables = spec_of(OWN, "fedavg", rounds=task.rounds, sites=sites, seed=seed).model_dump(by_alias=True)
    run: Mapping[str, Any] = {
        **tables["run"],
        "training": {"batch_size": task.batch_size, "n_epoch": task.n_epoch},
        "evaluate": {"frequency": 0},
        "privacy": {"budget": (task.epsilon, task.delta), "sclip_norm": task.sclip_norm},
    }
    return RunSpec.parse({**tables, "optim": {"client_opt": task.lrate}, "run": run}, "privacy")


def _opacus_scores(train: Digits, test: Array, task: Task, *, seed: int) -> Array:
    import torch  # noqa: PLC0415  # takes seconds to import
    from opacus import PrivacyEngine  # noqa: PLC0415  # likewise
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415  # likewise

    from fl.examples.digits.torch_net import cnn  # noqa: PLC0415  # likewise

    model, loss = cnn()
    samples = TensorDataset(torch.from_numpy(train.images(OWN.form)), torch.from_numpy(train.y))
    random = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hooks, and of a generator that is no cipher
        private, optimizer, loader = PrivacyEngine(accountant="rdp").make_private_with_epsilon(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=task.lrate),
            data_loader=DataLoader(samples, batch_size=task.batch_size, generator=random),
            epochs=task.rounds * task.n_epoch,
            target_epsilon=task.epsilon,
            target_delta=task.delta,
            max_grad_norm=task.sclip_norm,
            noise_generator=random,
        )
        for _ in range(task.rounds * task.n_epoch):
            for x, y in loader:
                optimizer.zero_grad()
                loss(private(x), y).backward()
                optimizer.step()
    with torch.no_grad():
        scores: Array = model(torch.from_numpy(test)).numpy()
    return scores


WAYS: Final[tuple[tuple[str, str, Callable[[Task, int], float]], ...]] = (
    ("Opacus in one place", "215", opacus_alone),
    ("one site", "215", lambda task, seed: federated(one_site(seed), task, seed=seed)),
    ("five sites alike", "1,078", lambda task, seed: federated(deal(alpha=ALIKE, seed=seed), task, seed=seed)),
    ("five sites unlike", "1,078", lambda task, seed: federated(deal(alpha=UNLIKE, seed=seed), task, seed=seed)),
)


if __name__ == "__main__":
    main()
