"""All that can happen to a run.

*Records* are decisions: they are in the log, and a run's state is a fold over them. *Inputs* are observations of the
leader: messages, timers, the outcome of a command. They may lead to records; by themselves nothing lasts of them.
"""

from dataclasses import dataclass
from enum import Enum

from fl.core.data_info import DataInfo
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.terms import PrivacySettled, Terms


class Kind(Enum):
    """What a round is for."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Status(Enum):
    """How a run ended."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Parcel:
    """Tensors as they travel; decisions look at nothing but their digest."""

    digest: bytes
    payload: bytes


class Cause(Enum):
    """Why a client is not in what was awaited from it."""

    FAILED = "failed"
    """It said so, or what it sent is not usable."""
    LATE = "late"
    GONE = "gone"
    REFUSED = "refused"
    """It will not, whenever it is asked."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell about one client."""

    client: str
    reason: str
    cause: Cause = Cause.FAILED


@dataclass(frozen=True, slots=True)
class Fallen:
    """A leader that was replaced before it could commit a round; round 0 is that of the first weights."""

    leader: str
    round: int


@dataclass(frozen=True, slots=True)
class ClientResult:
    """One client's part in a committed round."""

    client: str
    n_steps: int = 0
    n_samples: int = 0
    seconds: float = 0.0
    loss: float | None = None
    """Of the weights that it evaluated, on its own data."""
    update_norm: float | None = None
    """Euclidean length of its update in a training round."""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric over all clients: `shape` is empty for a scalar, `values` are in C order."""

    name: str
    values: tuple[float, ...]
    shape: tuple[int, ...] = ()


# ---- records --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaderStarted:
    """From here on only records of this leader count."""

    leader: str
    worker: str
    logic_version: int


@dataclass(frozen=True, slots=True)
class ClientsAdmitted:
    """Who takes part; the first such record closes registration, later ones are late joiners."""

    clients: tuple[tuple[str, DataInfo], ...]
    refused: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class RunInitialised:
    """What all data have in common, and the weights that the first round starts from."""

    data_info: DataInfo
    weights: Parcel
    aux: Parcel | None = None
    """What the clients' optimizers are sent in the first round."""
    fixed: Parcel | None = None
    """Tensors that no round changes."""
    sent_weights: Parcel | None = None
    """The weights as clients get them, where they are compressed."""


@dataclass(frozen=True, slots=True)
class ClientsReady:
    """Who built the model; `failed` ones take no part unless they join again."""

    clients: tuple[str, ...]
    failed: tuple[Note, ...] = ()
    terms: tuple[tuple[str, Terms], ...] = ()
    """On which each of them trains, in a private run."""


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """Requests of this round may go out now."""

    round: int
    kind: Kind
    participants: tuple[str, ...]
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class RoundClosed:
    """Whose updates are to be in the sum of the open training round, where shards make it.

    Another such record takes its place, as where one of these updates proves unusable. In a centrally private run every
    training round has one.
    """

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundCommitted:
    """The commit point of a round. `weights` are new in a training round and None in an evaluation."""

    round: int
    kind: Kind
    participants: tuple[ClientResult, ...]
    dropped: tuple[Note, ...] = ()
    weights: Parcel | None = None
    server_state: Parcel | None = None
    loss: float | None = None
    metrics: tuple[MetricValue, ...] = ()
    note: str = ""
    aux: Parcel | None = None
    """What the clients' optimizers are sent in the next training round."""
    sent_weights: Parcel | None = None
    """The weights as clients get them, where they are compressed."""
    clip_norm: float | None = None
    """The bound on updates in the next training round, where it follows their norms."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last record that counts. `weights` are those of `best_round`; None if there never were any."""

    status: Status
    reason: str
    best_round: int = 0
    weights: Parcel | None = None


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """What is awaited has been so for `waited_s`, by the clocks of all leaders together.

    For people who ask why nothing goes on, and for a new leader, whose deadline is what is left of it.
    """

    waited_s: float
    answered: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientsOut:
    """Who is not waited for any more in what is open, and why: it cannot answer, or nobody is there.

    Whoever leads, it is not asked again until it joins again. One that was gone and answers after all counts.
    """

    clients: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class RunPaused:
    """Too few clients are left, or have answered: from here on the run waits for them.

    What is open stays so, and what was answered keeps. The next commit, or the next round, ends the pause.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ClientsReturned:
    """Clients that were out, away or set aside take part again."""

    clients: tuple[str, ...]


Record = (
    LeaderStarted
    | ClientsAdmitted
    | RunInitialised
    | ClientsReady
    | RoundOpened
    | RoundClosed
    | RoundCommitted
    | RunEnded
    | StillWaiting
    | ClientsOut
    | RunPaused
    | ClientsReturned
)


# ---- inputs ---------------------------------------------------------------------------------------------------------


class Timer(Enum):
    """What is being waited for."""

    REGISTRATION = "registration"
    INITIALISATION = "initialisation"
    ROUND = "round"
    PAUSE = "pause"


class Trouble(Enum):
    """Why a client could not do what it was asked for."""

    UNINITIALISED = "uninitialised"
    REFUSED = "refused"
    FAILED = "failed"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class JoinAsked:
    """A daemon wants to take part. `problem` says why it cannot, where the message itself shows that."""

    client: str
    data_info: DataInfo
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class InitAnswered:
    """A daemon has built the model."""

    client: str


@dataclass(frozen=True, slots=True)
class Replied:
    """A daemon answered a round's request. `problem` says why the content must not enter the sum."""

    client: str
    kind: Kind
    round: int
    base: bytes
    """Digest of the weights it started from."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateUnusable:
    """What a client had answered in the open round cannot enter the sum, as shows when its turn comes.

    `again`: its bytes may have come to harm on the way, and be whole when they come once more.
    """

    client: str
    problem: str
    again: bool = True


@dataclass(frozen=True, slots=True)
class ClientFailed:
    """A daemon could not do what it was asked for; `round` is 0 and `base` empty outside rounds."""

    client: str
    trouble: Trouble
    text: str
    round: int = 0
    base: bytes = b""


@dataclass(frozen=True, slots=True)
class ClientsGone:
    """Nobody has consumed the queues of these clients for longer than the grace period."""

    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimeUp:
    """A timer that was set has run out."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class TimePassed:
    """So many seconds have gone by since this was last said, or since the leader leads."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """The researcher wants those to be asked again that a paused run waits for."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The researcher wants the run to end."""

    reason: str


@dataclass(frozen=True, slots=True)
class WeightsCompleted:
    """Outcome of `CompleteWeights`."""

    data_info: DataInfo
    weights: Parcel
    aux: Parcel | None = None
    sent_weights: Parcel | None = None


@dataclass(frozen=True, slots=True)
class StartFailed:
    """`CompleteWeights` is impossible for these data."""

    reason: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Outcome of `Fold`: the combined round, safe at the broker but not yet committed."""

    participants: tuple[ClientResult, ...]
    weights: Parcel | None = None
    server_state: Parcel | None = None
    loss: float | None = None
    metrics: tuple[MetricValue, ...] = ()
    note: str = ""
    aux: Parcel | None = None
    sent_weights: Parcel | None = None
    clip_norm: float | None = None


Input = (
    JoinAsked
    | InitAnswered
    | PrivacySettled
    | Replied
    | UpdateUnusable
    | RepliesHeld
    | RepliesLacking
    | BlockSummed
    | SumFailed
    | ClientFailed
    | ClientsGone
    | TimeUp
    | TimePassed
    | ResumeAsked
    | CancelAsked
    | WeightsCompleted
    | StartFailed
    | Folded
)
Event = Record | Input
