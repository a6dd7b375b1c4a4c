"""What must hold of every history of a run, read off what its leaders did and not off their state."""

import math
from collections import Counter
from dataclasses import dataclass, field

from fl.run.commands import Close, Command, Drop, Fold, Hold, SendInit, SendRound, SendStop, Sweep
from fl.run.dealing import by_block
from fl.run.events import (
    Cause,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Input,
    Kind,
    LeaderStarted,
    Parcel,
    Record,
    Replied,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    StillWaiting,
    UpdateUnusable,
)
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking
from fl.run.spec import RunSpec
from tests.unit.run.driver import Happening, Letter, Logged, Settled

Milestone = str | tuple[Kind, int]


@dataclass(slots=True)
class Audit:
    """Follows a trace, and asserts after each happening that it was right."""

    spec: RunSpec
    submitted: Parcel | None = None
    leader: str = ""
    letter: Letter | None = None
    """The one being handled."""
    held: dict[Letter, Milestone] = field(default_factory=dict)
    """What is kept unacknowledged, and the decision that it waits for."""
    aside: dict[Letter, Milestone] = field(default_factory=dict)
    """Replies that do not count after all, which may go once that is so."""
    reached: set[Milestone] = field(default_factory=set)
    again: set[tuple[str, RoundOpened]] = field(default_factory=set)
    """Who has been asked again for an update, since somebody leads."""
    admitted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    unable: set[str] = field(default_factory=set)
    """Who could not build the model."""
    open: RoundOpened | None = None
    folding: Fold | None = None
    answered: dict[str, Letter | None] = field(default_factory=dict)
    """The first valid reply of each client to the open round, since the present leader leads."""
    settled: tuple[str, ...] | None = None
    """Who is to be in the sum of the open round, where shards make it, or where it gets noise."""
    summed: dict[int, tuple[tuple[str, ...], Letter]] = field(default_factory=dict)
    """The sums of blocks that the present leader holds."""
    failed: set[str] = field(default_factory=set)
    """Who has said that it cannot answer the open round."""
    away: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    """Rounds in a row in which a client failed."""
    paused: bool = False
    weights: Parcel | None = field(init=False)
    initialised: bool = False
    server_state: Parcel | None = None
    trained: int = 0
    evaluations: dict[int, tuple[float, Parcel]] = field(default_factory=dict)
    ended: RunEnded | None = None
    stopped: set[str] = field(default_factory=set)
    closed: bool = False
    published: set[Parcel] = field(init=False)
    swept: set[Parcel] = field(default_factory=set)
    commits: list[RoundCommitted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = self.submitted
        self.published = {self.submitted} if self.submitted else set()

    def watch(self, happening: Happening) -> None:
        match happening:
            case Letter():
                self.letter = happening
                self._note_answer(happening.event)
            case Logged(record=record):
                self._log(record)
            case Settled(letters=letters):
                self._settle(letters)
            case UpdateUnusable(client=client):
                self._put_aside(client)
            case _ if isinstance(happening, Command):
                self._do(happening)
            case _:
                self.letter = None
                self._note_answer(happening)

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _note_answer(self, event: Input) -> None:
        """Note who has answered the open round, unless it said before that it cannot."""
        if self.open is None or self.weights is None or self.folding is not None:
            return
        here = self.open.kind, self.open.round, self.weights.digest
        match event:
            case Replied(problem=None) if (event.kind, event.round, event.base) == here:
                self._answers(event.client)
            case RepliesHeld() if (Kind.TRAIN, event.round, event.base) == here and self.spec.run.shards > 1:
                for client in event.clients:
                    self._answers(client)
            case RepliesLacking() if (Kind.TRAIN, event.round, event.base) == here and self.spec.run.shards > 1:
                there = {client for clients, _ in self.summed.values() for client in clients}
                for client in {*event.clients} - there:
                    self.answered.pop(client, None)
            case BlockSummed() if (Kind.TRAIN, event.round, event.base) == here and self.spec.run.shards > 1:
                assert self.letter is not None
                if self.settled is None or by_block(self.open, self.settled).get(event.block) == event.clients:
                    self.summed.setdefault(event.block, (event.clients, self.letter))

    def _answers(self, client: str) -> None:
        assert self.open is not None
        asked = self.open.participants if self.settled is None else self.settled
        if client in asked and client not in self.failed and not self._has_enough():
            self.answered.setdefault(client, self.letter)

    def _has_enough(self) -> bool:
        """Whether the round takes no more replies, whoever else sends one."""
        take, least = self.spec.run.sampling.take, self.spec.run.min_replies
        if self.open is None or self.open.kind is Kind.EVALUATE or take is None:
            return False
        n_asked = len(self.open.participants)
        return len(self.answered) >= max(number_of(take, n_asked), number_of(least, n_asked))

    def _put_aside(self, client: str) -> None:
        """What a client had answered does not count; its letter may go once that is in the log."""
        self.letter, letter = None, self.answered.pop(client, None)
        if letter is not None:
            self.folding = None
        if letter is not None and not isinstance(letter.event, RepliesHeld):
            self.held.pop(letter, None)
            self.aside[letter] = f"{client} is out"
            self.reached.discard(f"{client} is out")

    def _settle(self, letters: tuple[Letter, ...]) -> None:
        for letter in letters:
            milestone = self.held.pop(letter, self.aside.pop(letter, None))
            durable = milestone is None or milestone in self.reached or self.ended is not None
            assert durable, f"{letter.event} was acknowledged before {milestone} was in the log"

    # ---- commands ----------------------------------------------------------------------------------------------------

    def _do(self, command: Command) -> None:
        assert not self.closed or isinstance(command, Drop), f"{command} came after Close"
        match command:
            case Hold():
                assert self.letter is not None
                self.held[self.letter] = self._awaited()
            case Drop():
                first = self.letter is not None and self.letter in self.answered.values()
                assert not first or self.ended, f"a valid reply was dropped: {self.letter}"
            case Fold(clients=clients):
                assert self.folding is None, "one fold at a time"
                assert list(clients) == sorted(self.answered)
                assert all(self.answered[client] in self.held for client in clients), "what is folded must be held"
                if self.settled is not None:
                    self._check_sums(clients)
                self.folding = command
            case SendInit(client=client):
                assert self.initialised
                assert client in self.admitted
            case SendRound(client=client, edition=edition):
                assert self.open is not None
                assert not edition or (client, self.open) not in self.again, "nobody is asked again without end"
                if edition:
                    self.again.add((client, self.open))
                    self.reached.add(f"{client} is out")
                assert client in self.open.participants
            case SendStop(client=client):
                assert self.ended is not None
                self.stopped.add(client)
            case Sweep():
                self._sweep(command)
            case Close():
                self._close()
            case _:
                pass

    def _check_sums(self, clients: tuple[str, ...]) -> None:
        assert self.open is not None
        assert clients == self.settled, "what is folded is in the log"
        if self.spec.run.shards == 1:
            return
        assert {block: names for block, (names, _) in self.summed.items()} == by_block(self.open, clients)
        assert all(letter in self.held for _, letter in self.summed.values()), "what is folded must be held"

    def _awaited(self) -> Milestone:
        if self.open is not None:
            return self.open.kind, self.open.round
        return "initialised" if "admitted" in self.reached else "admitted"

    def _sweep(self, sweep: Sweep) -> None:
        lost = set(sweep.parcels) & self._needed()
        assert not lost, f"swept, but still needed: {lost}"
        self.swept.update(sweep.parcels)
        last = self.trained if self.ended is None else self.trained + 1
        assert all(one.round <= last for one in sweep.fallen), "nobody's work is swept while it may be written"
        assert all(one.leader != self.leader for one in sweep.fallen)

    def _needed(self) -> set[Parcel | None]:
        if self.ended is not None:
            return {self.ended.weights} - {None}
        return {self.weights, self.server_state, self._best()[1]} - {None}

    def _close(self) -> None:
        assert self.ended is not None
        assert self.stopped == self.admitted | self.refused, "everybody is told of the end"
        assert not self.held, "whatever was held is released at the end"
        assert self.published - self.swept == self._needed(), "nothing stays but what the run leaves"
        self.closed = True

    # ---- records -----------------------------------------------------------------------------------------------------

    def _log(self, record: Record) -> None:
        if isinstance(record, LeaderStarted):
            self._lead(record.leader)
            return
        assert self.ended is None, f"{record} came after the end"
        match record:
            case ClientsAdmitted(clients=clients, refused=refused):
                self._admit([name for name, _ in clients], [note.client for note in refused])
            case RunInitialised(weights=weights):
                assert not self.initialised, "weights are made once"
                assert self.admitted
                assert self.submitted in {None, weights}, "submitted weights are what the run starts from"
                self.weights, self.initialised = weights, True
                self.published.add(weights)
            case ClientsReady(clients=names, failed=failed):
                assert set(names) <= self.admitted - self.ready
                self.ready |= set(names)
                self.unable = {*self.unable, *(note.client for note in failed)} - {*names}
                self._check_room()
                self.reached.add("initialised")
            case RunPaused():
                self._pause()
            case ClientsOut(clients=notes):
                assert {note.client for note in notes} <= self.admitted - self.answered.keys()
                self.failed |= {note.client for note in notes if note.cause is not Cause.GONE}
                self.reached |= {f"{note.client} is out" for note in notes}
            case ClientsReturned(clients=names):
                self.failed -= set(names)
                self.away -= set(names)
                self.failures.subtract({name: self.failures[name] for name in names})
            case StillWaiting(answered=answered, awaited=awaited):
                assert not set(answered) & set(awaited)
            case RoundOpened():
                self._open(record)
            case RoundClosed(round=round_, clients=clients):
                self._close_round(round_, clients)
            case RoundCommitted():
                self._commit(record)
            case RunEnded(best_round=best_round, weights=weights):
                assert (best_round, weights) == self._best()
                self.ended, self.open, self.folding = record, None, None

    def _lead(self, leader: str) -> None:
        """What the leader before held comes again."""
        self.leader, self.letter, self.folding, self.closed = leader, None, None, False
        self.settled = self.settled or None  # a sum of nobody is settled by each leader
        self.held, self.aside, self.answered, self.stopped, self.again = {}, {}, {}, set(), set()
        self.summed = {}

    def _admit(self, names: list[str], refused: list[str]) -> None:
        register = self.spec.run.registration
        first = "admitted" not in self.reached
        assert first or self.spec.run.late_join
        assert not set(names) & self.admitted, "a client is admitted once"
        self.admitted |= set(names)
        self.refused |= set(refused)
        assert not names or len(self.admitted) >= register.min_clients
        self._check_room()
        self.reached.add("admitted")

    def _open(self, opened: RoundOpened) -> None:
        assert self.open is None, "one round at a time"
        if opened.kind is Kind.TRAIN:
            assert opened.round == self.trained + 1 <= self.spec.run.rounds
        else:
            assert opened.round == self.trained > 0
            assert opened.round not in self.evaluations
        able = self._able()
        assert opened.participants == tuple(sorted(set(opened.participants) & able)), "only who can take part"
        assert self._is_noised(opened) or len(opened.participants) == self._n_asked(opened.kind, len(able))
        assert len(able) >= self._fewest()
        self.open, self.answered, self.failed, self.paused = opened, {}, set(), False
        self.settled, self.summed = None, {}

    def _close_round(self, round_: int, clients: tuple[str, ...]) -> None:
        assert self.open is not None
        assert self.spec.run.shards > 1 or self._is_noised(self.open), "a worker alone needs no such record"
        assert (self.open.kind, self.open.round) == (Kind.TRAIN, round_)
        assert list(clients) == sorted(self.answered)
        assert len(clients) >= self._least(self.open)
        assert clients != self.settled, "it is settled once"
        self.settled, self.paused = clients, False
        fits = by_block(self.open, clients)
        self.summed = {block: (names, one) for block, (names, one) in self.summed.items() if fits.get(block) == names}

    def _able(self) -> set[str]:
        """Who can build the model, is there, and does not fail time and again."""
        most = self.spec.run.set_aside_after or math.inf
        return {name for name in self.ready - self.away if self.failures[name] < most}

    def _fewest(self) -> int:
        if not self.trained:
            return self.spec.run.registration.min_clients
        least = self.spec.run.min_replies
        return least if isinstance(least, int) else 1

    def _check_room(self) -> None:
        most = self.spec.run.registration.max_clients
        assert most is None or len(self.admitted - self.unable) <= most

    def _pause(self) -> None:
        assert self.spec.run.patience != 0, "this run waits for nobody"
        if self.open is None:
            assert len(self._able()) < self._fewest()
        else:
            assert len(self.answered) < self._least(self.open)
            self.settled = None
        self.paused = True

    def _is_noised(self, opened: RoundOpened) -> bool:
        return self.spec.run.central_privacy is not None and opened.kind is Kind.TRAIN

    def _least(self, opened: RoundOpened) -> int:
        """Replies that the round takes."""
        return 0 if self._is_noised(opened) else number_of(self.spec.run.min_replies, len(opened.participants))

    def _n_asked(self, kind: Kind, n_able: int) -> int:
        run = self.spec.run
        share = run.sampling.clients if kind is Kind.TRAIN else run.evaluate.clients
        least = run.min_replies if isinstance(run.min_replies, int) else 1
        return min(n_able, max(least, number_of(share, n_able)))

    def _commit(self, committed: RoundCommitted) -> None:
        assert self.open is not None
        assert (committed.kind, committed.round) == (self.open.kind, self.open.round)
        names = [result.client for result in committed.participants]
        dropped = [note.client for note in committed.dropped]
        assert sorted(names + dropped) == list(self.open.participants), "each is in the sum or named, once"
        assert names == sorted(self.answered), "whoever answered in time is in the sum, and nobody else"
        n_asked, least, take = len(self.open.participants), self.spec.run.min_replies, self.spec.run.sampling.take
        assert len(names) >= self._least(self.open)
        assert self.settled == tuple(names) or not self._is_noised(self.open), "it was settled before"
        if take is not None and committed.kind is Kind.TRAIN:
            assert len(names) <= max(number_of(take, n_asked), number_of(least, n_asked)), "no more than wanted"
        if committed.kind is Kind.TRAIN:
            assert committed.weights is not None
            self.weights, self.server_state, self.trained = committed.weights, committed.server_state, committed.round
            self.published |= {committed.weights, *filter(None, [committed.server_state])}
        else:
            assert self.weights is not None
            loss = math.nan if committed.loss is None else committed.loss
            self.evaluations[committed.round] = (loss, self.weights)
        if committed.kind is Kind.TRAIN:
            self.failures.subtract({name: self.failures[name] for name in names})
        self.failures.update(note.client for note in committed.dropped if note.cause is Cause.FAILED)
        self.away |= {note.client for note in committed.dropped if note.cause is Cause.GONE}
        self.ready -= {note.client for note in committed.dropped if note.cause is Cause.REFUSED}
        self.commits.append(committed)
        self.reached.add((committed.kind, committed.round))
        self.open, self.folding, self.answered, self.paused = None, None, {}, False
        self.settled, self.summed = None, {}

    def _best(self) -> tuple[int, Parcel | None]:
        """The evaluated weights of the lowest loss, of equal ones the latest; without any the latest at all."""
        losses = [(loss, -round_) for round_, (loss, _) in self.evaluations.items() if not math.isnan(loss)]
        if not losses:
            return self.trained, self.weights
        round_ = -min(losses)[1]
        return round_, self.evaluations[round_][1]


def number_of(share: float, of: int) -> int:
    """An int is that many; a part, here of few decimals, is rounded up."""
    return share if isinstance(share, int) else math.ceil(round(share * of, 6))
