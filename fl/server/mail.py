"""What a leader sends to clients."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from broker import topology
from broker.base import Session
from broker.blob import BlobRef
from broker.errors import Unroutable
from fl.core.privacy.options import PrivacyOptions
from fl.log import EventLog
from fl.run.commands import SendInit, SendJoinReply, SendPrivacy, SendRound, SendStop
from fl.run.dealing import shard_for
from fl.run.events import Kind
from fl.run.footprint import exchange_bytes, sum_bytes, update_bytes
from fl.run.state import OpenRound, RunState
from fl.wire.bulk import INLINE_BYTES
from fl.wire.envelope import Body, seal, what, wrap
from fl.wire.messages_pb2 import (
    EvaluateRequest,
    InitRequest,
    JoinReply,
    PrivacyRequest,
    StopRequest,
    TrainRequest,
    WeightsAhead,
)
from fl.wire.tensors import open_parcel, read_layout, write_data_info, write_ref

AT_A_TIME: Final = 32
"""Messages on their way at a time: each may hold the weights, and clients may be thousands."""

AHEAD_BYTES: Final = 384 * 1024
"""So many bytes for each client that is told of weights that are still being written: else it is not worth a message.

Measured with two clients on two cores: at 0.25 MB for each, rounds took as long as without, and a tenth more CPU; at
0.5 MB the same of both; at 1 MB an eighth less time, at 5 MB a fifth.
"""

Send = SendJoinReply | SendInit | SendPrivacy | SendRound | SendStop


class Mail:
    """Requests and answers to the clients of one run."""

    def __init__(self, session: Session, *, leader: str, clock: Callable[[], float], log: EventLog) -> None:
        self._session = session
        self._leader = leader
        self._clock = clock
        self._log = log
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def send(self, state: RunState, command: Send) -> None:
        """Send what `command` asks for; a client without a queue is logged and left to the deadline."""
        async with self._turns:
            await self._send(state, command)

    async def tell_ahead(self, state: RunState, clients: Sequence[str], *, round_: int, weights: BlobRef) -> None:
        """Tell clients of the weights after a round that are being written; what becomes of that matters to nobody."""
        if weights.size < AHEAD_BYTES * len(clients):
            return
        body = WeightsAhead(round=round_, weights=write_ref(weights))

        async def tell(client: str) -> None:
            async with self._turns:
                await self._post(state, client, body)

        await asyncio.gather(*map(tell, clients))

    async def _send(self, state: RunState, command: Send) -> None:
        match command:
            case SendJoinReply(client=client, accepted=accepted, reason=reason):
                await self._post(state, client, JoinReply(accepted=accepted, reason=reason))
            case SendInit(client=client):
                await self._post(state, client, _init_request(state))
            case SendPrivacy(client=client) if state.spec.run.privacy is not None:
                await self._post(state, client, _privacy_request(state.spec.run.privacy.options))
            case SendRound(client=client, edition=edition) if state.open is not None:
                await self._make_room(state, client, state.open)
                await self._post(state, client, _round_request(state, client, state.open, edition))
            case SendStop(client=client):
                await self._post(state, client, _stop_request(state))
            case _:
                raise TypeError(f"nothing to send: {command!r} in phase {state.phase}")

    async def _make_room(self, state: RunState, client: str, open_: OpenRound) -> None:
        """Declare the stream for an update that is too big to come inside its reply."""
        if open_.opened.kind is not Kind.TRAIN or state.weights is None:
            return
        for cargo, n_bytes in bulk_bytes(state).items():
            if n_bytes > INLINE_BYTES:
                room = topology.Room(state.run, open_.opened.round, client, self._leader, cargo)
                # for an upload cut short and one done again after it
                await self._session.declare(*room.declaration(max_bytes=4 * n_bytes))

    async def _post(self, state: RunState, client: str, body: Body) -> None:
        message = seal(wrap(state.run, self._leader, body, now=self._clock()), user=self._session.user)
        key = topology.Key(state.run, client, what(body))
        try:
            await self._session.publish(message, exchange=topology.DOWN.name, routing_key=str(key))
        except Unroutable:
            self._log.warning("client_without_queue", client=client, what=what(body))


def bulk_bytes(state: RunState) -> dict[topology.Cargo, int]:
    """What a client may have to send in a training round, at most."""
    assert state.weights is not None, "a round starts from weights"
    layout = read_layout(open_parcel(state.weights).layout)
    sizes: dict[topology.Cargo, int] = {"u": update_bytes(state.spec, layout)}
    told = exchange_bytes(state.spec, layout)
    return {**sizes, "x": told + INLINE_BYTES} if told else sizes  # vectors, and numbers beside them


def sums_in_bulk(state: RunState) -> tuple[Callable[[str, int, int, str], str], ...]:
    """The streams, by their naming, that sums of blocks may be in, where workers share the sum of a round."""
    if state.spec.run.shards == 1:
        return ()
    assert state.weights is not None, "a round starts from weights"
    layout = read_layout(open_parcel(state.weights).layout)
    if exchange_bytes(state.spec, layout):
        return topology.sum_stream, topology.aux_sum_stream
    return (topology.sum_stream,) if sum_bytes(state.spec, layout) > INLINE_BYTES else ()


def _init_request(state: RunState) -> InitRequest:
    assert state.weights is not None, "clients are initialised after the run is"
    assert state.data_info is not None, "clients are initialised after the run is"
    layout = open_parcel(state.weights).layout
    request = InitRequest(spec_json=state.spec.to_json(), data_info=write_data_info(state.data_info), layout=layout)
    if state.fixed is not None:
        request.fixed.CopyFrom(open_parcel(state.fixed))
    return request


def _privacy_request(options: PrivacyOptions) -> PrivacyRequest:
    return PrivacyRequest(
        epsilon=options.epsilon,
        delta=options.delta,
        sclip_norm=options.sclip_norm,
        accountant=options.accountant,
        use_csprng=options.use_csprng,
    )


def _round_request(state: RunState, client: str, open_: OpenRound, edition: int) -> TrainRequest | EvaluateRequest:
    assert state.base is not None, "a round starts from weights"
    round_, weights, counted = open_.opened.round, open_parcel(state.base), state.counted.get(client, 0)
    if open_.opened.kind is Kind.EVALUATE:
        return EvaluateRequest(round=round_, weights=weights, counted=counted)
    request = TrainRequest(round=round_, weights=weights, counted=counted, edition=edition)
    shard = shard_for(state.spec, open_.opened, client)
    if shard is not None:
        request.route = str(shard)
    if state.aux is not None:
        request.aux.CopyFrom(open_parcel(state.aux))
    return request


def _stop_request(state: RunState) -> StopRequest:
    assert state.ended is not None, "only an ended run stops its clients"
    end = state.ended
    request = StopRequest(status=end.status.value, reason=end.reason, best_round=end.best_round)
    if end.weights is not None:
        request.weights.CopyFrom(open_parcel(end.weights))
        if state.fixed is not None:
            request.fixed.CopyFrom(open_parcel(state.fixed))
    return request
