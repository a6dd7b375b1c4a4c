"""Runs as tests tell them: records folded into what happened."""

from collections.abc import Iterable

from fl.core.data_info import DataInfo
from fl.run.apply import apply
from fl.run.events import (
    ClientResult,
    ClientsAdmitted,
    ClientsReady,
    Kind,
    LeaderStarted,
    MetricValue,
    Note,
    Parcel,
    Record,
    RoundCommitted,
    RoundOpened,
    RunInitialised,
)
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.submit.history import Happened

INFO = DataInfo(n_samples=100, n_features=2, classes=(0, 1))
CLIENTS = ("ann", "ben")
WEIGHTS = Parcel(b"digest", b"")


def spec(rounds: int = 4, **run: object) -> RunSpec:
    table = {
        "name": "heart",
        "model": {"kind": "sklearn-sgd", "config": {"kind": "classifier"}},
        "optim": {"client_opt": 0.1},
        "run": {"rounds": rounds, "register": 2, "training": {"batch_size": 10}, **run},
    }
    return RunSpec.parse(table, "test")


def happen(records: Iterable[Record], *, of: RunSpec | None = None, every_s: float = 1.0) -> list[Happened]:
    """The records as they happen from second 1000 on."""
    state, happened = RunState("heart-1", of or spec()), []
    for number, record in enumerate(records):
        state = apply(state, record)
        happened.append(Happened(1000.0 + number * every_s, record, state))
    return happened


def beginning(*, refused: tuple[Note, ...] = ()) -> list[Record]:
    """Until both clients are ready."""
    return [
        LeaderStarted("1", "worker-1", 1),
        ClientsAdmitted(tuple((name, INFO) for name in CLIENTS), refused),
        RunInitialised(INFO, WEIGHTS),
        ClientsReady(CLIENTS),
    ]


def trained(round_: int, *, dropped: tuple[Note, ...] = (), note: str = "") -> list[Record]:
    results = tuple(ClientResult(name, n_steps=5, n_samples=50) for name in CLIENTS)
    return [
        RoundOpened(round_, Kind.TRAIN, CLIENTS),
        RoundCommitted(round_, Kind.TRAIN, results, dropped, weights=WEIGHTS, note=note),
    ]


def evaluated(round_: int, loss: float | None, **metrics: float) -> list[Record]:
    results = tuple(ClientResult(name, n_samples=50, loss=loss) for name in CLIENTS)
    values = tuple(MetricValue(name.replace("__", "/"), (value,)) for name, value in metrics.items())
    confusion = MetricValue("confusion", (1.0, 2.0, 3.0, 4.0), (2, 2))
    return [
        RoundOpened(round_, Kind.EVALUATE, CLIENTS),
        RoundCommitted(round_, Kind.EVALUATE, results, loss=loss, metrics=(*values, confusion)),
    ]


def rounds(losses: Iterable[float]) -> list[Record]:
    """Training rounds with their evaluations."""
    return [
        record
        for number, loss in enumerate(losses, start=1)
        for record in (*trained(number), *evaluated(number, loss, accuracy=1 - loss))
    ]
