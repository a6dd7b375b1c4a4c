"""`python -m tests.bench.simulation`: a round of a thousand virtual clients, beside a bare numpy loop.

Logistic regression, one step a round of each client on all of its samples. The bare loop, in the same minutes, has the
arithmetic alone: no sampling, no state, no records, no checks. CPU seconds are compared, which other work on the
machine does not add to.
`--peers` also installs pfl, under .venv-peers, and measures its simulation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.core.vector import Array
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import Kind, RoundCommitted
from fl.run.spec import RunSpec
from fl.submit.history import Happened

ROOT = Path(__file__).parents[2]
PFL = ROOT / ".venv-peers" / "pfl"
RATE = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """How much there is to do in a round; the first round is left out."""

    clients: int = 1000
    parameters: int = 1000
    samples: int = 32
    rounds: int = 6

    def data(self) -> tuple[Array, Array]:
        """Features of shape (clients, samples, parameters - 1), and labels."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(self.clients, self.samples, self.parameters - 1))
        return x, rng.integers(2, size=(self.clients, self.samples))


def bare_loop(case: Case) -> list[float]:
    """CPU seconds of each round, of numpy alone."""
    x, y = case.data()
    weights, at = np.zeros(case.parameters), [time.process_time()]
    for _ in range(case.rounds):
        total = np.zeros(case.parameters)
        for features, labels in zip(x, y, strict=True):
            raw = features @ weights[:-1] + weights[-1]
            error = (1 / (1 + np.exp(-raw)) - labels) / case.samples
            total[:-1] += RATE * (error @ features)
            total[-1] += RATE * error.sum()
        weights = weights - total / case.clients
        at.append(time.process_time())
    return np.diff(at).tolist()[1:]


def ours(case: Case) -> list[float]:
    """CPU seconds from one commit to the next."""
    x, y = case.data()
    clients = [
        VirtualClient(f"client-{number:06}", Data(InMemoryDataset(features, labels, expose_classes=True)))
        for number, (features, labels) in enumerate(zip(x, y, strict=True))
    ]
    at: list[float] = []

    def note(happened: Happened) -> None:
        if isinstance(happened.record, RoundCommitted) and happened.record.kind is Kind.TRAIN:
            at.append(time.process_time())

    simulate(spec_of(case), clients, on_event=note)
    return np.diff(at).tolist()


def spec_of(case: Case) -> RunSpec:
    run = {
        "rounds": case.rounds,
        "register": case.clients,
        "seed": 0,
        "training": {"batch_size": case.samples},
        "evaluate": False,
    }
    config = {"kind": "classifier", "loss": "log_loss", "penalty": None}
    model = {"kind": "sklearn-sgd", "config": config}
    return RunSpec.parse({"model": model, "optim": {"client_opt": RATE}, "run": run}, "bench")


def pfl(case: Case) -> list[float]:
    """Raises `CalledProcessError` where it cannot be installed, or fails."""
    ready = PFL / ".ready-0.6.0"
    python = str(PFL / "bin" / "python")
    if not ready.exists():
        print(f"setting up {PFL.relative_to(ROOT)} (a minute)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", PFL], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pfl==0.6.0"], check=True)
        ready.touch()
    sizes = [str(size) for size in asdict(case).values()]
    script = Path(__file__).with_name("simulation_pfl.py")
    done = subprocess.run([python, script, *sizes], check=True, capture_output=True, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for name, default in asdict(Case()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--turns", type=int, default=3, help="times that all are measured, one after the other")
    parser.add_argument("--peers", action="store_true", help="also pfl, installed under .venv-peers")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(arguments)
    case = Case(given.clients, given.parameters, given.samples, given.rounds)
    contestants = {"bare numpy loop": bare_loop, "ours": ours, **({"pfl": pfl} if given.peers else {})}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(given.turns):
        for name, measure in contestants.items():
            seconds[name] += measure(case)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{case.clients} clients, {case.parameters} parameters, {case.samples} samples each: CPU seconds a round")
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.4f} to {max(seconds[name]):.4f}"
        print(f"  {name:16} {median:7.4f}  ({spread})  {median / medians['bare numpy loop']:5.2f} x the bare loop")
    if given.json is not None:
        given.json.write_text(json.dumps({"case": asdict(case), "cpu_seconds": seconds, "median": medians}, indent=2))


if __name__ == "__main__":
    main()
