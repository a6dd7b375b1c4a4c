"""Announcements in the stream of all runs: one when a run is submitted, one when it is over."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.base import Message
from broker.topology import check_name
from fl.errors import BadMessage, ConfigError
from fl.run.events import Parcel, Status
from fl.wire.envelope import unseal
from fl.wire.messages_pb2 import Envelope

if TYPE_CHECKING:
    from fl.run.spec import RunSpec  # needs numpy, which an idle daemon does without


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run as its submitter announced it; `at` in seconds since the epoch, by the submitter's clock."""

    run: str
    spec: "RunSpec"
    weights: Parcel | None = None
    fixed: Parcel | None = None
    by: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that was submitted, whatever it is about."""

    run: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A run that is over."""

    run: str
    status: Status
    reason: str


def read_announcement(message: Message) -> Submitted | Closed:
    """Raises `BadMessage`, also for a spec that this release does not understand."""
    envelope = _envelope(message)
    if envelope.WhichOneof("body") == "run_submitted":
        return _submitted(envelope)
    return _closed(envelope)


def read_news(message: Message) -> Opened | Closed:
    """The same for who does not look at the spec. Raises `BadMessage`."""
    envelope = _envelope(message)
    if envelope.WhichOneof("body") == "run_submitted":
        return Opened(envelope.run)
    return _closed(envelope)


def _envelope(message: Message) -> Envelope:
    envelope = unseal(message)
    try:
        check_name(envelope.run, "run")
    except ValueError as error:
        raise BadMessage(str(error)) from None
    return envelope


def _closed(envelope: Envelope) -> Closed:
    if envelope.WhichOneof("body") != "run_closed":
        raise BadMessage(f"a {envelope.WhichOneof('body')} is no announcement of a run")
    return Closed(envelope.run, _status(envelope.run_closed.status), envelope.run_closed.reason)


def _submitted(envelope: Envelope) -> Submitted:
    from fl.run.spec import RunSpec  # noqa: PLC0415  # only where there is a run
    from fl.wire.tensors import parcel  # noqa: PLC0415  # likewise

    body = envelope.run_submitted
    weights = parcel(body.weights) if body.HasField("weights") else None
    fixed = parcel(body.fixed) if body.HasField("fixed") else None
    try:
        spec = RunSpec.from_json(body.spec_json)
    except (ConfigError, ValueError) as error:
        raise BadMessage(f"run {envelope.run}: its spec is not understood here: {error}") from None
    return Submitted(envelope.run, spec, weights, fixed, envelope.sender, envelope.sent_at)


def _status(name: str) -> Status:
    try:
        return Status(name)
    except ValueError:
        raise BadMessage(f"a run cannot have ended as {name!r}") from None
