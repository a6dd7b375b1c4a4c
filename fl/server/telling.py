"""What a worker's log says of each record."""

from collections.abc import Iterable

from fl.log import EventLog
from fl.run.events import (
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    LeaderStarted,
    Note,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    StillWaiting,
)


def tell(log: EventLog, record: Record) -> None:
    """One line for the record, and one for each client that something is wrong with."""
    match record:
        case LeaderStarted():
            log.info("leader_started", worker=record.worker)
        case ClientsAdmitted():
            log.info("clients_admitted", clients=_names(name for name, _ in record.clients))
            _warn(log, "client_refused", record.refused)
        case RunInitialised():
            log.info("run_initialised", n_samples=record.data_info.n_samples)
        case ClientsReady():
            log.info("clients_ready", clients=_names(record.clients))
            for client, terms in record.terms:
                log.info("trains_privately", client=client, noise_multiplier=terms.noise_multiplier)
                for warning in terms.warnings:
                    log.warning("privacy_warning", client=client, reason=warning)
            _warn(log, "client_failed", record.failed)
        case RoundOpened():
            log.info("round_opened", round=record.round, kind=record.kind.value, clients=len(record.participants))
        case RoundClosed():
            log.info("round_closed", round=record.round, clients=len(record.clients))
        case RoundCommitted():
            fields = {} if record.loss is None else {"loss": record.loss}
            clients = len(record.participants)
            log.info("round_committed", round=record.round, kind=record.kind.value, clients=clients, **fields)
            _warn(log, "client_dropped", record.dropped)
            if record.note:
                log.warning("round_note", round=record.round, note=record.note)
        case StillWaiting():
            awaited, answered = _names(record.awaited), len(record.answered)
            log.info("still_waiting", seconds=record.waited_s, answered=answered, awaited=awaited)
        case ClientsOut():
            _warn(log, "client_out", record.clients)
        case RunPaused():
            log.warning("run_paused", reason=record.reason)
        case ClientsReturned():
            log.info("clients_returned", clients=_names(record.clients))
        case RunEnded():
            log.info("run_ended", status=record.status.value, reason=record.reason, best_round=record.best_round)


def _warn(log: EventLog, event: str, notes: tuple[Note, ...]) -> None:
    for note in notes:
        log.warning(event, client=note.client, reason=note.reason)


def _names(names: Iterable[str]) -> str:
    return ",".join(names)
