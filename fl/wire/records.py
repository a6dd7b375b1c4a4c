"""The log's records, to and from protobuf."""

from collections.abc import Iterable

from google.protobuf.message import DecodeError

from broker.base import Message
from fl.errors import BadMessage
from fl.run.events import (
    Cause,
    ClientResult,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Kind,
    LeaderStarted,
    MetricValue,
    Note,
    Parcel,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    Status,
    StillWaiting,
)
from fl.wire import records_pb2 as pb
from fl.wire.envelope import PROTOCOL
from fl.wire.tensors import open_parcel, parcel, read_data_info, write_data_info
from fl.wire.tensors_pb2 import Tensors
from fl.wire.terms import read_terms, write_terms

_CAUSES = {
    Cause.FAILED: pb.ClientNote.FAILED,
    Cause.LATE: pb.ClientNote.LATE,
    Cause.GONE: pb.ClientNote.GONE,
    Cause.REFUSED: pb.ClientNote.REFUSED,
}
_CAUSES_BACK = {number: cause for cause, number in _CAUSES.items()}
_KINDS = {Kind.TRAIN: pb.RoundKind.TRAIN, Kind.EVALUATE: pb.RoundKind.EVALUATE}
Carrier = pb.RunInitialised | pb.RoundCommitted | pb.RunEnded
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}


def write_record(leader: str, record: Record, *, number: int, now: float) -> Message:
    """A message for the run's log. `number` goes up by one from each of this leader's records to the next."""
    entry = pb.LogRecord(protocol=PROTOCOL, leader=leader, at=now, number=number)
    match record:
        case LeaderStarted():
            entry.leader_started.worker = record.worker
            entry.leader_started.logic_version = record.logic_version
        case ClientsAdmitted():
            clients = (pb.AdmittedClient(client=name, data_info=write_data_info(info)) for name, info in record.clients)
            entry.clients_admitted.CopyFrom(pb.ClientsAdmitted(clients=clients, refused=_notes(record.refused)))
        case RunInitialised():
            data_info = write_data_info(record.data_info)
            entry.run_initialised.CopyFrom(pb.RunInitialised(data_info=data_info, weights=open_parcel(record.weights)))
            _write_parcels(entry.run_initialised, aux=record.aux, fixed=record.fixed, sent_weights=record.sent_weights)
        case ClientsReady():
            terms = (pb.ClientTerms(client=client, terms=write_terms(one)) for client, one in record.terms)
            ready = pb.ClientsReady(clients=record.clients, failed=_notes(record.failed), terms=terms)
            entry.clients_ready.CopyFrom(ready)
        case RoundOpened():
            entry.round_opened.round = record.round
            entry.round_opened.kind = _KINDS[record.kind]
            entry.round_opened.participants.extend(record.participants)
            entry.round_opened.deadline_s = record.deadline_s or 0.0
        case RoundClosed(round=round_, clients=closed):
            entry.round_closed.CopyFrom(pb.RoundClosed(round=round_, clients=closed))
        case RoundCommitted():
            entry.round_committed.CopyFrom(_write_committed(record))
        case RunEnded():
            ended = entry.run_ended
            ended.status, ended.reason, ended.best_round = record.status.value, record.reason, record.best_round
            _write_parcels(ended, weights=record.weights)
        case StillWaiting():
            waiting = pb.StillWaiting(waited_s=record.waited_s, answered=record.answered, awaited=record.awaited)
            entry.still_waiting.CopyFrom(waiting)
        case ClientsOut(clients=out):
            entry.clients_out.CopyFrom(pb.ClientsOut(clients=_notes(out)))
        case RunPaused(reason=reason):
            entry.run_paused.CopyFrom(pb.RunPaused(reason=reason))
        case ClientsReturned(clients=names):
            entry.clients_returned.CopyFrom(pb.ClientsReturned(clients=names))
        case _:
            raise TypeError(f"not a record: {record!r}")
    return Message(entry.SerializeToString(), type=entry.WhichOneof("record") or "")


def read_record(message: Message) -> tuple[pb.LogRecord, Record]:
    """The entry as it stands in the log, and its record. Raises `BadMessage`."""
    try:
        entry = pb.LogRecord.FromString(bytes(message.body))
        return entry, _read(entry)
    except (BadMessage, DecodeError, ValueError) as error:
        raise BadMessage(f"a record of type {message.type!r} in the run's log cannot be read: {error}") from None


class Repeats:
    """Knows a record that comes again: a message may be stored twice when its channel was closed on its way."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def has(self, entry: pb.LogRecord) -> bool:
        """Whether this entry was here before; asked once for each."""
        if entry.number <= self._last.get(entry.leader, -1):
            return True
        self._last[entry.leader] = entry.number
        return False


def _read(entry: pb.LogRecord) -> Record:
    if entry.protocol != PROTOCOL:
        raise BadMessage(f"it is of protocol {entry.protocol}, and this release speaks protocol {PROTOCOL}")
    match entry.WhichOneof("record"):
        case "leader_started":
            started = entry.leader_started
            return LeaderStarted(entry.leader, started.worker, started.logic_version)
        case "clients_admitted":
            admitted = entry.clients_admitted
            clients = tuple((item.client, read_data_info(item.data_info)) for item in admitted.clients)
            return ClientsAdmitted(clients, _read_notes(admitted.refused))
        case "run_initialised":
            initialised = entry.run_initialised
            return RunInitialised(
                read_data_info(initialised.data_info),
                parcel(initialised.weights),
                aux=_read_parcel(initialised, "aux"),
                fixed=_read_parcel(initialised, "fixed"),
                sent_weights=_read_parcel(initialised, "sent_weights"),
            )
        case "clients_ready":
            ready = entry.clients_ready
            terms = tuple((one.client, read_terms(one.terms)) for one in ready.terms)
            return ClientsReady(tuple(ready.clients), _read_notes(ready.failed), terms)
        case "round_opened":
            opened = entry.round_opened
            kind = _read_kind(opened.kind)
            return RoundOpened(opened.round, kind, tuple(opened.participants), opened.deadline_s or None)
        case "round_closed":
            return RoundClosed(entry.round_closed.round, tuple(entry.round_closed.clients))
        case "round_committed":
            return _read_committed(entry.round_committed)
        case "run_ended":
            ended = entry.run_ended
            weights = _read_parcel(ended, "weights")
            return RunEnded(Status(ended.status), ended.reason, ended.best_round, weights)
        case "still_waiting":
            waiting = entry.still_waiting
            return StillWaiting(waiting.waited_s, tuple(waiting.answered), tuple(waiting.awaited))
        case "clients_out":
            return ClientsOut(_read_notes(entry.clients_out.clients))
        case "run_paused":
            return RunPaused(entry.run_paused.reason)
        case "clients_returned":
            return ClientsReturned(tuple(entry.clients_returned.clients))
    raise ValueError("it is empty, or of a kind that this release does not know")


def _write_committed(record: RoundCommitted) -> pb.RoundCommitted:
    message = pb.RoundCommitted(
        round=record.round,
        kind=_KINDS[record.kind],
        participants=(_write_result(one) for one in record.participants),
        dropped=_notes(record.dropped),
        loss=record.loss,
        metrics=(pb.Metric(name=one.name, values=one.values, shape=one.shape) for one in record.metrics),
        note=record.note,
        clip_norm=record.clip_norm,
    )
    _write_parcels(message, weights=record.weights, server_state=record.server_state, aux=record.aux)
    _write_parcels(message, sent_weights=record.sent_weights)
    return message


def _read_committed(message: pb.RoundCommitted) -> RoundCommitted:
    return RoundCommitted(
        message.round,
        _read_kind(message.kind),
        tuple(map(_read_result, message.participants)),
        _read_notes(message.dropped),
        weights=_read_parcel(message, "weights"),
        server_state=_read_parcel(message, "server_state"),
        loss=message.loss if message.HasField("loss") else None,
        metrics=tuple(MetricValue(one.name, tuple(one.values), tuple(one.shape)) for one in message.metrics),
        note=message.note,
        aux=_read_parcel(message, "aux"),
        sent_weights=_read_parcel(message, "sent_weights"),
        clip_norm=message.clip_norm if message.HasField("clip_norm") else None,
    )


def _write_result(one: ClientResult) -> pb.ClientResult:
    return pb.ClientResult(
        client=one.client,
        n_steps=one.n_steps,
        n_samples=one.n_samples,
        seconds=one.seconds,
        loss=one.loss,
        update_norm=one.update_norm,
    )


def _read_result(one: pb.ClientResult) -> ClientResult:
    loss = one.loss if one.HasField("loss") else None
    update_norm = one.update_norm if one.HasField("update_norm") else None
    return ClientResult(one.client, one.n_steps, one.n_samples, one.seconds, loss=loss, update_norm=update_norm)


def _read_kind(number: pb.RoundKind) -> Kind:
    try:
        return _KINDS_BACK[number]
    except KeyError:
        raise BadMessage(f"a round of kind {number} is unknown to this release") from None


def _write_parcels(message: Carrier, **parcels: Parcel | None) -> None:
    """Fill those fields for which there is something."""
    for field, known in parcels.items():
        if known is not None:
            getattr(message, field).CopyFrom(open_parcel(known))


def _read_parcel(message: Carrier, field: str) -> Parcel | None:
    if not message.HasField(field):
        return None
    tensors: Tensors = getattr(message, field)
    return parcel(tensors)


def _notes(notes: tuple[Note, ...]) -> list[pb.ClientNote]:
    return [pb.ClientNote(client=note.client, reason=note.reason, cause=_CAUSES[note.cause]) for note in notes]


def _read_notes(notes: Iterable[pb.ClientNote]) -> tuple[Note, ...]:
    return tuple(Note(note.client, note.reason, _CAUSES_BACK.get(note.cause, Cause.FAILED)) for note in notes)
