"""A leader without a broker: it performs commands by writing down what it did."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fl.run.commands import Append, Close, Command, CompleteWeights, Fold, Hold, Release, SetTimer
from fl.run.events import (
    CancelAsked,
    ClientFailed,
    Event,
    InitAnswered,
    Input,
    JoinAsked,
    LeaderStarted,
    Record,
    Replied,
    ResumeAsked,
    Timer,
    UpdateUnusable,
)
from fl.run.replay import replay
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.state import RunState
from fl.run.step import LOGIC_VERSION, resume, step
from fl.run.terms import PrivacySettled

Log = list[tuple[str, Record]]

MESSAGES: Final = (
    JoinAsked,
    InitAnswered,
    PrivacySettled,
    Replied,
    RepliesHeld,
    RepliesLacking,
    BlockSummed,
    SumFailed,
    ClientFailed,
    CancelAsked,
    ResumeAsked,
)
"""Inputs that come through the run's queue, and again unless they are acknowledged."""


class LeaderDied(Exception):
    """Thrown in the middle of performing."""


@dataclass(eq=False, slots=True)
class Letter:
    """A message in the leader's queue: two with the same content are two."""

    event: Input


@dataclass(frozen=True, slots=True)
class Logged:
    """A record became durable."""

    leader: str
    record: Record


@dataclass(frozen=True, slots=True)
class Settled:
    """Letters were acknowledged: they never come again."""

    letters: tuple[Letter, ...]


Happening = Letter | Input | Command | Logged | Settled


@dataclass(slots=True)
class Leader:
    """Leads a run as `fl.server` does: appended records are durable before they are stepped, effects come in order."""

    name: str
    empty: RunState
    """The run before its first record."""
    log: Log
    trace: list[Happening]
    before_each: Callable[[], None] = lambda: None
    """Called before whatever could be the last thing that this leader does; may raise `LeaderDied`."""
    state: RunState = field(init=False)
    held: list[Letter] = field(default_factory=list)
    settled: list[Letter] = field(default_factory=list)
    tasks: deque[CompleteWeights | Fold] = field(default_factory=deque)
    """Work whose outcome is yet to come."""
    timer: Timer | None = None
    closed: bool = False

    def start(self) -> None:
        """Take over whatever the log holds."""
        self._append(LeaderStarted(self.name, f"worker of {self.name}", LOGIC_VERSION))
        self.state = replay(self.empty, self.log)
        self.perform(resume(self.state))

    def take(self, event: Input) -> None:
        """Handle an event: one that comes as a message is a new one."""
        if isinstance(event, MESSAGES):
            self.receive(Letter(event))
        elif isinstance(event, UpdateUnusable):
            self._put_aside(event)
        else:
            self.trace.append(event)
            self._handle(event, None)

    def receive(self, letter: Letter) -> None:
        """Handle a message, and acknowledge it unless it is to be held."""
        self.trace.append(letter)
        self._handle(letter.event, letter)
        if letter not in self.held and letter not in self.settled:
            self._settle([letter])

    def _put_aside(self, event: UpdateUnusable) -> None:
        """Give up what was being folded, and settle the reply once it is in the log that it does not count."""
        letters = [one for one in self.held if isinstance(one.event, Replied) and one.event.client == event.client]
        if letters or event.client in self.state.seen.done:
            self.tasks = deque(task for task in self.tasks if not isinstance(task, Fold))
        self.held = [letter for letter in self.held if letter not in letters]
        self.trace.append(event)
        self._handle(event, None)
        self._settle(letters)

    def perform(self, commands: Iterable[Command], letter: Letter | None = None) -> None:
        for command in commands:
            self.before_each()
            self.trace.append(command)
            self._perform_one(command, letter)

    def _handle(self, event: Event, letter: Letter | None) -> None:
        self.state, commands = step(self.state, event)
        self.perform(commands, letter)

    def _perform_one(self, command: Command, letter: Letter | None) -> None:
        match command:
            case Append(records=records):
                for record in records:
                    self._append(record)
                for record in records:
                    self._handle(record, letter)
            case Hold():
                assert letter is not None, "only messages can be held"
                self.held.append(letter)
            case Release():
                self._settle(self.held)
                self.held = []
            case CompleteWeights() | Fold():
                self.tasks.append(command)
            case SetTimer(timer=timer, seconds=seconds):
                self.timer = None if seconds is None else timer
            case Close():
                self.closed = True
            case _:
                pass

    def _append(self, record: Record) -> None:
        self.before_each()
        self.log.append((self.name, record))
        self.trace.append(Logged(self.name, record))

    def _settle(self, letters: list[Letter]) -> None:
        self.trace.append(Settled(tuple(letters)))
        self.settled.extend(letters)


def commands_about(state: RunState, event: Input) -> tuple[Command, ...]:
    """All that a leader in this state does about an event, with what follows from the records it appends."""
    leader = Leader("leader-1", state, log=[], trace=[])
    leader.state = state
    leader.take(event)
    return tuple(happening for happening in leader.trace if isinstance(happening, Command))
