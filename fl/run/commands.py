"""What a leader is to do: plain data, performed by `fl.server`, each one harmless when repeated."""

from dataclasses import dataclass

from fl.core.data_info import DataInfo
from fl.run.events import Fallen, Kind, Parcel, Record, Timer


@dataclass(frozen=True, slots=True)
class Append:
    """Write these to the log, in this order; each comes back as an event once it is safe there."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class SendJoinReply:
    """Tell a client whether it takes part."""

    client: str
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SendInit:
    """Ask a client to build the model."""

    client: str


@dataclass(frozen=True, slots=True)
class SendPrivacy:
    """Ask a client, once it has the model, on which terms it trains privately."""

    client: str


@dataclass(frozen=True, slots=True)
class SendRound:
    """Ask a client for its part of the open round; once more, where what it sent before cannot be used."""

    client: str
    edition: int = 0


@dataclass(frozen=True, slots=True)
class SendStop:
    """Tell a client that the run is over, with the weights that it leaves."""

    client: str


@dataclass(frozen=True, slots=True)
class CompleteWeights:
    """Make the first weights from the data info, or take those submitted → `WeightsCompleted` or `StartFailed`."""

    data_info: DataInfo


@dataclass(frozen=True, slots=True)
class Fold:
    """Combine the held replies of these clients, in this order → `Folded`."""

    kind: Kind
    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetTimer:
    """After `seconds` → `TimeUp`. Replaces whatever timer was set; None: no timer."""

    timer: Timer
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the message of this event unacknowledged until the next `Release`."""


@dataclass(frozen=True, slots=True)
class Release:
    """Acknowledge all that is held: what it caused is in the log."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The message of this event has no effect; count it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Delete bulk that nothing refers to: `parcels`, and what `fallen` leaders may have written in vain."""

    parcels: tuple[Parcel, ...] = ()
    fallen: tuple[Fallen, ...] = ()


@dataclass(frozen=True, slots=True)
class Close:
    """Delete the run's queue, then announce the end. The leader's last command."""


Command = (
    Append
    | SendJoinReply
    | SendInit
    | SendPrivacy
    | SendRound
    | SendStop
    | CompleteWeights
    | Fold
    | SetTimer
    | Hold
    | Release
    | Drop
    | Sweep
    | Close
)
