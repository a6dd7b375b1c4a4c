"""What the tests of `fl.run` start from: small specs, data infos, parcels and histories."""

from typing import Any

from fl.core.data_info import DataInfo
from fl.run.apply import apply
from fl.run.commands import Append
from fl.run.events import (
    Cause,
    ClientResult,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    Event,
    Folded,
    JoinAsked,
    Kind,
    LeaderStarted,
    Note,
    Parcel,
    Record,
    Replied,
    RoundCommitted,
    RoundOpened,
    RunInitialised,
)
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.run.step import step

DATA = DataInfo(n_samples=10, n_features=2, classes=(0, 1))
OTHER_DATA = DataInfo(n_samples=10, n_features=3, classes=(0, 1))
AGREED = DataInfo(n_samples=20, n_features=2, classes=(0, 1))

SECRET = bytes(range(32))
"""Of runs that have one; others do not look at it."""

LEADS = LeaderStarted("leader-1", "worker-1", 1)


def a_spec(**run: Any) -> RunSpec:
    """A spec with these options in its `run` table; by default one round and two clients exactly."""
    table = {"rounds": 1, "register": 2, "training": {"batch_size": 8}, "patience": 0, **run}
    return RunSpec.from_params(model={"kind": "none"}, optim={"client_opt": 0.1}, run=table)


def a_run(spec: RunSpec, submitted: Parcel | None = None) -> RunState:
    """A run before its first record."""
    return RunState("run-1", spec, weights=submitted, secret=SECRET)


def parcel(name: str) -> Parcel:
    return Parcel(name.encode(), b"payload of " + name.encode())


W = tuple(parcel(f"w{round_}") for round_ in range(6))
"""Weights after so many training rounds."""


def admitted(*names: str) -> ClientsAdmitted:
    return ClientsAdmitted(tuple((name, DATA) for name in names))


def initialised() -> RunInitialised:
    return RunInitialised(AGREED, W[0])


def opened(round_: int, *names: str, kind: Kind = Kind.TRAIN, deadline_s: float | None = None) -> RoundOpened:
    return RoundOpened(round_, kind, names, deadline_s)


def trained(round_: int, *names: str, server_state: Parcel | None = None) -> RoundCommitted:
    return RoundCommitted(round_, Kind.TRAIN, results(*names), weights=W[round_], server_state=server_state)


def evaluated(round_: int, *names: str, loss: float | None) -> RoundCommitted:
    return RoundCommitted(round_, Kind.EVALUATE, results(*names), loss=loss)


def results(*names: str) -> tuple[ClientResult, ...]:
    return tuple(ClientResult(name) for name in names)


def running(*names: str, ready: tuple[str, ...] | None = None) -> tuple[Event, ...]:
    """The records of a run up to the point where its first round can open."""
    failed = tuple(Note(name, "no room") for name in names if ready is not None and name not in ready)
    return LEADS, admitted(*names), initialised(), ClientsReady(names if ready is None else ready, failed)


def training(*names: str, round_: int = 1, deadline_s: float | None = None) -> tuple[Event, ...]:
    """The records of a run up to an open training round, with a commit and no evaluation for each before it."""
    before = (event for past in range(1, round_) for event in (opened(past, *names), trained(past, *names)))
    return (*running(*names), *before, opened(round_, *names, deadline_s=deadline_s))


def evaluating(*names: str, round_: int = 1) -> tuple[Event, ...]:
    """The records of a run up to an open evaluation."""
    return (*training(*names, round_=round_), trained(round_, *names), opened(round_, *names, kind=Kind.EVALUATE))


def judged_as(*losses: float | None, names: tuple[str, ...] = ("a", "b")) -> tuple[Event, ...]:
    """The records of a run whose rounds were each evaluated, with these losses."""
    records: list[Event] = [*running(*names)]
    for round_, loss in enumerate(losses, start=1):
        records += [opened(round_, *names), trained(round_, *names), opened(round_, *names, kind=Kind.EVALUATE)]
        records.append(evaluated(round_, *names, loss=loss))
    return tuple(records)


def folding(kind: Kind, round_: int, *names: str) -> tuple[Event, ...]:
    """A round of these clients, which all have answered."""
    base = W[round_ - 1 if kind is Kind.TRAIN else round_]
    return (opened(round_, *names, kind=kind), *(Replied(name, kind, round_, base.digest) for name in names))


def a_state(spec: RunSpec, *events: Event) -> RunState:
    """The state after these events, of which only the inputs were decided upon, and who is out was logged."""
    state = a_run(spec)
    for event in events:
        if isinstance(event, Record):
            state = apply(state, event)
            continue
        state, commands = step(state, event)
        for command in commands:
            if isinstance(command, Append) and isinstance(command.records[0], ClientsOut):
                state = apply(state, command.records[0])
    return state


def out(client: str, reason: str, cause: Cause = Cause.FAILED) -> Append:
    """That a client is not waited for any more."""
    return Append((ClientsOut((Note(client, reason, cause),)),))


def join(client: str, data_info: DataInfo = DATA, problem: str | None = None) -> JoinAsked:
    return JoinAsked(client, data_info, problem)


def reply(client: str, round_: int = 1, base: Parcel = W[0], problem: str | None = None) -> Replied:
    return Replied(client, Kind.TRAIN, round_, base.digest, problem)


def scored(client: str, round_: int = 1, problem: str | None = None) -> Replied:
    """A reply to an evaluation."""
    return Replied(client, Kind.EVALUATE, round_, W[round_].digest, problem)


def folded(round_: int, *names: str) -> Folded:
    """The outcome of a training round."""
    return Folded(results(*names), W[round_])


def scores(*names: str, loss: float | None) -> Folded:
    """The outcome of an evaluation."""
    return Folded(results(*names), loss=loss)
