"""What a leader knows of a run: a fold over its log, and beside it what it has observed since it leads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from fl.core.data_info import DataInfo
from fl.run.events import (
    Cause,
    Fallen,
    Note,
    Parcel,
    RoundOpened,
    RunEnded,
)
from fl.run.sampling import Past
from fl.run.spec import RunSpec
from fl.run.terms import Terms


class Phase(Enum):
    """Where a run stands."""

    REGISTERING = "registering"
    PREPARING = "preparing"
    """Clients are admitted, the first weights are not made yet."""
    INITIALISING = "initialising"
    """Clients build the model."""
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Client:
    """An admitted client."""

    data_info: DataInfo
    ready: bool = False
    problem: str | None = None
    """Why it could not build the model."""
    past: Past = field(default_factory=Past)
    """Its rounds so far: what samplers go by."""
    away: bool = False
    """Nobody consumed its queue when it was last asked; until it joins again it is not."""
    failures: int = 0
    """Rounds in a row in which it failed."""
    last_failure: str = ""
    terms: Terms | None = None
    """On which it trains, in a private run."""

    def is_set_aside(self, spec: RunSpec) -> bool:
        """Whether it has failed so often that it is not asked any more."""
        return 0 < spec.run.set_aside_after <= self.failures


@dataclass(frozen=True, slots=True)
class OpenRound:
    """The round whose replies are awaited."""

    opened: RoundOpened
    closed: tuple[str, ...] | None = None
    """Whose updates are to be in the sum, once that is settled, in rounds that shards sum, or whose sum gets noise."""
    n_ready: int = 0
    """Clients that could have been asked when it was opened."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Who may be in the sum."""
        return self.opened.participants if self.closed is None else self.closed

    @property
    def name(self) -> str:
        return f"{self.opened.kind.value} round {self.opened.round}"


@dataclass(frozen=True, slots=True)
class Best:
    """The evaluated weights with the lowest loss; of equal ones the latest."""

    round: int
    loss: float
    weights: Parcel


@dataclass(frozen=True, slots=True)
class Seen:
    """What the present leader has observed: gone with it, and observed again by its successor."""

    joining: Mapping[str, DataInfo] = field(default_factory=dict)
    """Who asked to take part while registration is open."""
    done: frozenset[str] = frozenset()
    """Who has answered what the phase awaits: initialisation, or the open round."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """How often a client has said meanwhile that it does not have the model."""
    sent: frozenset[str] = frozenset()
    """Who was sent the model since, and has not said that it has it."""
    asked_again: frozenset[str] = frozenset()
    """Whose update could not be used, and who were asked for it once more."""
    summed: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Blocks of the open round whose sums are here, and who is in each."""
    terms: Mapping[str, Terms] = field(default_factory=dict)
    """What clients that are to become ready have said of their privacy."""
    folding: bool = False
    passed_s: float = 0.0
    """How long has been waited since that was last logged."""

    def with_done(self, client: str) -> "Seen":
        return replace(self, done=self.done | {client})

    def with_fresh(self, client: str) -> "Seen":
        """A daemon that joins again has begun anew: what it lost before was another's."""
        lost = {name: times for name, times in self.lost.items() if name != client}
        return replace(self, lost=lost, sent=self.sent | {client})

    def with_lost(self, client: str) -> "Seen":
        lost = {**self.lost, client: self.lost.get(client, 0) + 1}
        return replace(self, lost=lost, sent=self.sent | {client})


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as its log tells it, and `seen`."""

    run: str
    spec: RunSpec
    phase: Phase = Phase.REGISTERING
    leader: str = ""
    clients: Mapping[str, Client] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    data_info: DataInfo | None = None
    weights: Parcel | None = None
    sent_weights: Parcel | None = None
    """The weights as clients get them, where they are compressed."""
    fixed: Parcel | None = None
    """Tensors that no round changes."""
    server_state: Parcel | None = None
    aux: Parcel | None = None
    """What the clients' optimizers are sent in the next training round."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """The last training round that counts each client: where its own state goes on from."""
    trained: int = 0
    """Training rounds committed."""
    evaluated: int = 0
    """The training round whose weights were evaluated last."""
    losses: tuple[float, ...] = ()
    best: Best | None = None
    open: OpenRound | None = None
    garbage: tuple[Parcel, ...] = ()
    """Bulk that the last commit made useless."""
    fallen: tuple[Fallen, ...] = ()
    """Leaders that may have left half-written bulk."""
    asked_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Who led each training round that updates may be left of: the last committed one, and the one after it."""
    clip_norm: float | None = None
    """The bound on updates in the next training round, where it follows their norms."""
    released: int = 0
    """Sums that leaders may have let others see, in a centrally private run."""
    secret: bytes = field(default=b"", repr=False)
    """What noise and the choice of clients come from in such a run; its log does not tell it."""
    waited_s: float = 0.0
    """How long what is awaited has been, as far as that was logged."""
    out: Mapping[str, Note] = field(default_factory=dict)
    """Who is not waited for in what is open, and why."""
    paused: str | None = None
    """Why the run waits for clients to come back."""
    ended: RunEnded | None = None
    seen: Seen = Seen()

    @property
    def ready(self) -> tuple[str, ...]:
        """Clients that can take part in a round, in the order of every fold."""
        return tuple(sorted(name for name, client in self.clients.items() if client.ready and not self._lacks(client)))

    def _lacks(self, client: Client) -> bool:
        return client.away or client.is_set_aside(self.spec)

    @property
    def lacking(self) -> tuple[Note, ...]:
        """Clients that cannot take part in a round, and why."""
        return tuple(note for name, client in sorted(self.clients.items()) if (note := self._why_not(name, client)))

    def _why_not(self, name: str, client: Client) -> Note | None:
        if client.problem is not None:
            return Note(name, client.problem)
        if client.is_set_aside(self.spec):
            return Note(name, f"set aside after {client.failures} failed rounds: {client.last_failure}")
        return Note(name, "gone", Cause.GONE) if client.away else None

    @property
    def wanted(self) -> frozenset[str]:
        """Clients whose answer would still count."""
        if self.seen.folding:
            return frozenset()
        if self.phase is Phase.INITIALISING:
            return frozenset(self.clients) - self.seen.done
        failed = {name for name, note in self.out.items() if note.cause is not Cause.GONE}
        asked = frozenset(self.open.asked if self.open is not None else ())
        return asked - self.seen.done - failed

    @property
    def awaiting(self) -> frozenset[str]:
        """Clients that the run waits for."""
        return self.wanted - self.out.keys()

    @property
    def base(self) -> Parcel | None:
        """The weights that clients are sent: what they answer starts from these."""
        return self.sent_weights or self.weights

    @property
    def held(self) -> set[Parcel]:
        """Bulk that the run goes on from, or leaves."""
        best = None if self.best is None else self.best.weights
        left = None if self.ended is None else self.ended.weights
        known = {self.weights, self.sent_weights, self.fixed, self.server_state, self.aux, best, left}
        return {parcel for parcel in known if parcel is not None}

    @property
    def final_weights(self) -> tuple[int, Parcel | None]:
        """The round and weights that the run would leave if it ended now: the best, or else the latest."""
        if self.best is not None:
            return self.best.round, self.best.weights
        return self.trained, self.weights
