"""What a history holds still: the parts of a run's state that its log alone tells, as JSON, and their digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fl.core.data_info import DataInfo
from fl.run.events import ClientResult, Note, Parcel, RunEnded
from fl.run.sampling import Past
from fl.run.state import Best, Client, OpenRound, RunState
from fl.wire.tensors import blob_ref, open_parcel

Told = dict[str, Any]


def digest_after(before: str, state: RunState) -> str:
    """The digest of a state and, by that of the state before, of all that led to it."""
    told = json.dumps(durable(state), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{before}{told}".encode()).hexdigest()[:16]


def durable(state: RunState) -> Told:
    """All of a state but the run's name, its spec, and what its leader has seen.

    What is empty is left out: a part that a later release adds does not change the digest of a history without it.
    """
    return _filled(
        phase=state.phase.value,
        leader=state.leader,
        clients={name: client_told(client) for name, client in state.clients.items()},
        refused=dict(state.refused),
        data_info=_data_info(state.data_info),
        weights=_parcel(state.weights),
        sent_weights=_parcel(state.sent_weights),
        fixed=_parcel(state.fixed),
        server_state=_parcel(state.server_state),
        aux=_parcel(state.aux),
        counted=dict(state.counted),
        trained=state.trained,
        evaluated=state.evaluated,
        losses=list(state.losses),
        best=_best(state.best),
        open=None if state.open is None else _open(state.open),
        garbage=[_parcel(one) for one in state.garbage],
        fallen=[[one.leader, one.round] for one in state.fallen],
        asked_by={str(round_): list(leaders) for round_, leaders in sorted(state.asked_by.items())},
        clip_norm=state.clip_norm,
        released=state.released or None,
        waited_s=state.waited_s,
        out=_notes(state.out),
        paused=state.paused,
        ended=_ended(state.ended),
    )


def client_told(client: Client) -> Told:
    return _filled(
        data_info=_data_info(client.data_info),
        ready=client.ready,
        problem=client.problem,
        past=_past(client.past),
        away=client.away,
        failures=client.failures,
        last_failure=client.last_failure,
        terms=client.terms and _filled(**asdict(client.terms)),
    )


def _filled(**parts: Any) -> Told:
    return {
        name: part
        for name, part in parts.items()
        if part is not None and part is not False and part not in ([], {}, "")
    }


def _parcel(parcel: Parcel | None) -> str | None:
    """Its values and, where they are bulk, the stream that has them."""
    if parcel is None:
        return None
    ref = blob_ref(open_parcel(parcel))
    return parcel.digest.hex() + (f" in {ref.stream}" if ref is not None else "")


def _data_info(info: DataInfo | None) -> Told | None:
    if info is None:
        return None
    return _filled(
        n_samples=info.n_samples,
        n_features=info.n_features,
        input_shape=info.input_shape and list(info.input_shape),
        classes=info.classes and list(info.classes),
        data_type=info.data_type,
    )


def _past(past: Past) -> Told:
    return _filled(asked=past.asked, trained=_result(past.trained), loss=past.loss)


def _result(one: ClientResult | None) -> Told | None:
    if one is None:
        return None
    return _filled(
        client=one.client,
        n_steps=one.n_steps,
        n_samples=one.n_samples,
        seconds=one.seconds,
        loss=one.loss,
        update_norm=one.update_norm,
    )


def _best(best: Best | None) -> Told | None:
    return None if best is None else _filled(round=best.round, loss=best.loss, weights=_parcel(best.weights))


def _open(open_: OpenRound) -> Told:
    opened = open_.opened
    return _filled(
        round=opened.round,
        kind=opened.kind.value,
        participants=list(opened.participants),
        deadline_s=opened.deadline_s,
        closed=open_.closed and list(open_.closed),
    )


def _notes(notes: Mapping[str, Note]) -> Told:
    return {name: [note.client, note.reason, note.cause.value] for name, note in notes.items()}


def _ended(ended: RunEnded | None) -> Told | None:
    if ended is None:
        return None
    return _filled(
        status=ended.status.value,
        reason=ended.reason,
        best_round=ended.best_round,
        weights=_parcel(ended.weights),
    )
