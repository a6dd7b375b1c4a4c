"""`fluffle simulate`: a run of many virtual clients in this process, without a broker."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from fl.cli.frame import few, lines
from fl.cli.progress import Progress
from fl.cli.split import Plan, make_shares
from fl.cli.split_labels import labels_of
from fl.cli.terminal import silence_logs, terminal
from fl.client.config import ClientConfig
from fl.client.learner import Data
from fl.client.setup import describe
from fl.core.dataset import Dataset
from fl.errors import ConfigError
from fl.main.experiment import Experiment
from fl.main.files import save_outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.main.simulation_data import Deal, Pool
from fl.run.events import ClientsAdmitted, Kind, Record, RoundCommitted, RoundOpened
from fl.run.spec import RegisterConfig, RunSpec
from fl.submit.history import Happened
from fl.submit.submission import prepare


def run_simulation(file: Path, *, plan: Plan | None, out: Path, weights: Path | None = None) -> None:
    """Simulate the run in `file`, show its progress, and write what it leaves to `out`.

    With a plan, the data of the file's clients are dealt anew to so many virtual ones; without it each of them is one.
    Raises `ConfigError`, `DataError`, `ModelError`, and `RunFailed` where it does not finish.
    """
    experiment = Experiment.from_file(file)
    if not experiment.clients:
        raise ConfigError(
            f"{file}: no [[clients]]: name the data there, with name and train.path; one of them is enough, and "
            "--clients deals its samples to as many virtual clients as you like"
        )
    silence_logs()
    console = terminal()
    submission = prepare(experiment.spec, experiment.start(weights), sender="simulate", now=0.0)
    spec = submission.spec
    clients = [_as_it_is(config) for config in experiment.clients]
    if plan is not None:
        clients, spec = list(_dealt(clients, plan)), _awaiting(spec, plan.clients)
    with CrowdProgress(submission.run, spec, console=console) as progress:
        outcome = simulate(spec, clients, weights=submission.weights, run=submission.run, on_event=progress.on_event)
    console.print(progress.pace.summary)
    for path in save_outcome(outcome, out):
        console.print(f"wrote {path}", soft_wrap=True)
    outcome.require()


def _as_it_is(config: ClientConfig) -> VirtualClient:
    valid = None if config.valid is None else Dataset.load(describe(config.valid))
    data = Data(Dataset.load(describe(config.train)), valid)
    return VirtualClient(config.name, data, share_metrics=config.share_metrics)


def _dealt(clients: list[VirtualClient], plan: Plan) -> Iterator[VirtualClient]:
    """All samples of these clients, those to evaluate on too, in the hands of as many as the plan says."""
    pool = Pool.of(clients)
    target = pool.samples.y
    labels = None if target is None or target.ndim != 1 else labels_of(target, plan.bins)
    shares = make_shares(pool.samples.n_samples, labels, plan)
    yield from pool.deal([Deal(share.client, share.train, share.valid) for share in shares])


def _awaiting(spec: RunSpec, clients: int) -> RunSpec:
    """The same run, waiting for so many clients."""
    register = RegisterConfig(min_clients=clients, max_clients=clients)
    return spec.model_copy(update={"run": spec.run.model_copy(update={"registration": register})})


@dataclass(frozen=True, slots=True)
class Pace:
    """How many clients train in a second, over all training rounds so far."""

    trained: int = 0
    seconds: float = 0.0
    opened_at: float = 0.0

    def after(self, happened: Happened) -> "Pace":
        match happened.record:
            case RoundOpened(kind=Kind.TRAIN):
                return replace(self, opened_at=happened.at)
            case RoundCommitted(kind=Kind.TRAIN, participants=participants):
                seconds = self.seconds + happened.at - self.opened_at
                return replace(self, trained=self.trained + len(participants), seconds=seconds)
            case _:
                return self

    @property
    def per_s(self) -> float:
        return self.trained / max(self.seconds, 1e-6)

    @property
    def summary(self) -> str:
        return f"{self.trained} times a client trained, in {self.seconds:.3g} s: {self.per_s:.0f} clients/s"


class CrowdProgress(Progress):
    """The progress of a run whose clients are too many to be named, and how fast they train."""

    pace = Pace()

    def on_event(self, happened: Happened) -> None:
        before, self._view = self._view, self._view.after(happened)
        self.pace = self.pace.after(happened)
        if self._live is None:
            for line in self._short(happened.record, lines(before, happened.record, self._view)):
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _short(self, record: Record, said: list[str]) -> list[str]:
        match record:
            case ClientsAdmitted(clients=clients) if clients:
                return [*said[:-1], f"{self._view.run}: joined: {few([name for name, _ in clients])}"]
            case RoundCommitted() if said:
                return [*said[:-1], f"{said[-1]} ({self.pace.per_s:.0f} clients/s)"]
            case _:
                return said

    def _frame(self) -> RenderableType:
        return Group(super()._frame(), Text(f"{self.pace.per_s:.0f} clients/s", "dim"))
