"""A whole run in one loop: clients that always answer alike, a queue that delivers again, and leaders that die."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

from fl.run.commands import CompleteWeights, Fold, SendInit, SendRound
from fl.run.dealing import by_block, is_dealt
from fl.run.events import (
    ClientFailed,
    ClientResult,
    ClientsGone,
    Folded,
    InitAnswered,
    Input,
    JoinAsked,
    Kind,
    LeaderStarted,
    Parcel,
    Record,
    Replied,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    TimeUp,
    Trouble,
    WeightsCompleted,
)
from fl.run.replay import replay
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking
from fl.run.spec import RunSpec
from fl.run.state import RunState
from tests.unit.run.driver import Happening, Leader, LeaderDied, Letter, Log, Logged
from tests.unit.run.histories import DATA, a_run

Answer = Literal["good", "bad", "failure", "refusal", "silence", "lost", "forgetful"]
"""What a client makes of a request. "lost": the first time it has forgotten the run, later it is good; "forgetful":
it has forgotten the run each time."""
Script = Mapping[str, Answer]
"""Of one client: its answer to "init", "train 1", "evaluate 1" and so on; good where it says nothing."""

PATIENCE: Final = 1_000
"""Turns after which a run hangs."""


@dataclass(slots=True)
class Simulation:
    """`dies(n)` says whether a leader dies just before the n-th thing that leaders do."""

    spec: RunSpec
    scripts: Mapping[str, Script]
    dies: Callable[[int], bool] = lambda _: False
    log: Log = field(default_factory=list)
    trace: list[Happening] = field(default_factory=list)
    queue: deque[Letter] = field(default_factory=deque)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    leaders: list[Leader] = field(default_factory=list)
    performed: int = 0
    turns: int = 0
    answered: int = 0
    """Up to where clients have read the trace."""
    shard: "ShardWorker" = field(init=False)

    def __post_init__(self) -> None:
        self.shard = ShardWorker(self.spec, self.log, self.queue)

    def run(self) -> "Simulation":
        self.queue.extend(Letter(JoinAsked(client, DATA)) for client in self.scripts)
        while not (self.leaders and self.leaders[-1].closed):
            self._lead()
        return self

    @property
    def commits(self) -> list[RoundCommitted]:
        return [record for _, record in self.log if isinstance(record, RoundCommitted)]

    @property
    def end(self) -> RunEnded:
        (end,) = [record for _, record in self.log if isinstance(record, RunEnded)]
        return end

    def _lead(self) -> None:
        """One leader, until it has closed the run or dies; what it has not acknowledged by then comes again."""
        leader = Leader(f"leader-{len(self.leaders) + 1}", a_run(self.spec), self.log, self.trace, self._count)
        self.leaders.append(leader)
        taken: list[Letter] = []
        try:
            leader.start()
            while not leader.closed:
                self._answer(leader)
                self._turn(leader, taken)
        except LeaderDied:
            self._answer(leader)
            self.queue.extendleft(letter for letter in reversed(taken) if letter not in leader.settled)

    def _count(self) -> None:
        self.performed += 1
        if self.dies(self.performed):
            raise LeaderDied

    def _turn(self, leader: Leader, taken: list[Letter]) -> None:
        """The next thing that happens to a leader: time passes only when nothing else is left."""
        self.turns += 1
        assert self.turns < PATIENCE, "the run hangs"
        if self.queue:
            taken.append(self.queue.popleft())
            leader.receive(taken[-1])
        elif leader.tasks:
            leader.take(self._outcome(leader, leader.tasks.popleft()))
        elif leader.timer is not None:
            leader.take(TimeUp(leader.timer))
        else:
            step = self._step(leader)
            silent = tuple(client for client, script in self.scripts.items() if script.get(step) == "silence")
            assert silent, f"{step}: nobody is left to wait for, and yet the run waits"
            leader.take(ClientsGone(silent))

    def _answer(self, leader: Leader) -> None:
        """Clients answer what they were sent meanwhile."""
        sent, self.answered = self.trace[self.answered :], len(self.trace)
        for command in sent:
            if isinstance(command, SendInit):
                self._answer_init(command.client)
            elif isinstance(command, SendRound):
                self._answer_round(leader, command.client)
            elif isinstance(command, Logged):
                self.shard.follow(command.record)

    def _answer_init(self, client: str) -> None:
        match self._script(client, "init"):
            case "good":
                self.queue.append(Letter(InitAnswered(client)))
            case "failure":
                self.queue.append(Letter(ClientFailed(client, Trouble.FAILED, "no room for the model")))

    def _answer_round(self, leader: Leader, client: str) -> None:
        assert leader.state.open is not None
        assert leader.state.weights is not None
        opened, base = leader.state.open.opened, leader.state.weights.digest
        match self._script(client, f"{opened.kind.value} {opened.round}"):
            case "good" if is_dealt(self.spec, opened):
                self.shard.take(client)
                return
            case "good":
                answer: Replied | ClientFailed = Replied(client, opened.kind, opened.round, base)
            case "bad":
                answer = Replied(client, opened.kind, opened.round, base, "not finite")
            case "failure":
                answer = ClientFailed(client, Trouble.FAILED, "out of memory", opened.round, base)
            case "refusal":
                answer = ClientFailed(client, Trouble.REFUSED, "the budget is spent", opened.round, base)
            case "lost" | "forgetful":
                answer = ClientFailed(client, Trouble.UNINITIALISED, "restarted", opened.round, base)
            case _:
                return
        self.queue.append(Letter(answer))

    def _script(self, client: str, step: str) -> Answer:
        self.asked[client, step] += 1
        answer = self.scripts[client].get(step, "good")
        return "good" if answer == "lost" and self.asked[client, step] > 1 else answer

    def _step(self, leader: Leader) -> str:
        open_ = leader.state.open
        return "init" if open_ is None else f"{open_.opened.kind.value} {open_.opened.round}"

    def _outcome(self, leader: Leader, task: CompleteWeights | Fold) -> WeightsCompleted | Folded:
        """What follows from the task and the committed weights, whoever does it."""
        if isinstance(task, CompleteWeights):
            return WeightsCompleted(task.data_info, _parcel(b"", ()))
        assert leader.state.weights is not None
        weights = _parcel(leader.state.weights.digest, task.clients)
        results = tuple(map(_result, task.clients))
        if task.kind is Kind.TRAIN:
            return Folded(results, weights, server_state=_parcel(b"state of " + weights.digest, ()))
        return Folded(results, loss=weights.digest[0] / 256)


@dataclass(slots=True)
class ShardWorker:
    """Sums all blocks of a run for its leaders, and never dies."""

    spec: RunSpec
    log: Log
    queue: deque[Letter]
    opened: RoundOpened | None = None
    held: set[str] = field(default_factory=set)
    sent: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def follow(self, record: Record) -> None:
        """A record is in the log."""
        state = replay(a_run(self.spec), self.log)
        opened = None if state.open is None else state.open.opened
        if opened is not self.opened:
            self.opened = opened
            self.held.clear()
            self.sent.clear()
        if isinstance(record, LeaderStarted):
            self.sent.clear()
        if isinstance(record, LeaderStarted | RoundClosed):
            self._go_on(state)

    def take(self, client: str) -> None:
        """A reply to the open round."""
        state = replay(a_run(self.spec), self.log)
        if client in {*self.held, *chain(*self.sent.values())} or client not in state.wanted:
            return
        self.held.add(client)
        self._tell(state, lambda *about: RepliesHeld((client,), *about))
        self._go_on(state, new=True)

    def _go_on(self, state: RunState, *, new: bool = False) -> None:
        if state.open is None or state.open.closed is None:
            return
        for block, clients in by_block(state.open.opened, state.open.closed).items():
            lacking = tuple(client for client in clients if client not in self.held)
            if self.sent.get(block) == clients:
                continue
            if lacking and not new:
                self._tell(state, lambda *about, lacking=lacking: RepliesLacking(lacking, *about))
            elif not lacking:
                self._tell(state, lambda *about, block=block, clients=clients: BlockSummed(block, clients, *about))
                self.sent[block] = clients
                self.held -= {*clients}

    def _tell(self, state: RunState, what: Callable[..., Input]) -> None:
        assert state.open is not None
        assert state.weights is not None
        self.queue.append(Letter(what(state.open.opened.round, state.weights.digest)))


def _result(client: str) -> ClientResult:
    """The later its name comes, the slower is a client, and the less its data are fitted."""
    number = float(ord(client))
    return ClientResult(client, n_steps=1, seconds=number, loss=number, update_norm=number)


def _parcel(base: bytes, clients: tuple[str, ...]) -> Parcel:
    digest = hashlib.sha256(base + ",".join(clients).encode()).digest()
    return Parcel(digest, digest)
