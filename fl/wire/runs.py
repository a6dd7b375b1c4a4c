"""Announcements in the stream of all runs: one when a run is submitted, one when it is over."""

from dataclasses import dataclass

from broker.base import Message
from broker.topology import check_name
from fl.errors import BadMessage, ConfigError
from fl.run.events import Parcel, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import unseal
from fl.wire.tensors import parcel


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run as its submitter announced it; `at` in seconds since the epoch, by the submitter's clock."""

    run: str
    spec: RunSpec
    weights: Parcel | None = None
    fixed: Parcel | None = None
    by: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Closed:
    """A run that is over."""

    run: str
    status: Status
    reason: str


def read_announcement(message: Message) -> Submitted | Closed:
    """Raises `BadMessage`, also for a spec that this release does not understand."""
    envelope = unseal(message)
    try:
        check_name(envelope.run, "run")
    except ValueError as error:
        raise BadMessage(str(error)) from None
    match envelope.WhichOneof("body"):
        case "run_submitted":
            body = envelope.run_submitted
            weights = parcel(body.weights) if body.HasField("weights") else None
            fixed = parcel(body.fixed) if body.HasField("fixed") else None
            try:
                spec = RunSpec.from_json(body.spec_json)
            except (ConfigError, ValueError) as error:
                raise BadMessage(f"run {envelope.run}: its spec is not understood here: {error}") from None
            return Submitted(envelope.run, spec, weights, fixed, envelope.sender, envelope.sent_at)
        case "run_closed":
            return Closed(envelope.run, _status(envelope.run_closed.status), envelope.run_closed.reason)
        case other:
            raise BadMessage(f"a {other} is no announcement of a run")


def _status(name: str) -> Status:
    try:
        return Status(name)
    except ValueError:
        raise BadMessage(f"a run cannot have ended as {name!r}") from None
