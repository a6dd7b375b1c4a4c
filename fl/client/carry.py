"""Carries tensors that are too big for a message between the broker and a trainer's memory."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from broker import blob, topology
from broker.base import Session
from broker.errors import BadBlob
from broker.threads import in_thread
from fl.client.ahead import Ahead
from fl.client.memory import Memory
from fl.errors import BadMessage
from fl.wire.bulk import NEXT_CHUNK_S, announced_ref
from fl.wire.tensors import read_layout, referring
from fl.wire.tensors_pb2 import Tensors
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall

BROUGHT: Final[dict[str, tuple[str, ...]]] = {
    "init": ("fixed",),
    "privacy": (),
    "train": ("weights", "aux"),
    "evaluate": ("weights",),
}
"""Fields of each request that may refer to a stream."""

CARGOES: Final[dict[str, topology.Cargo]] = {"update": "u", "aux": "x"}
"""Fields of a `TrainReply`, and which of a leader's rooms each goes to."""


async def bring(session: Session, memory: Memory, call: TrainerCall, *, ahead: Ahead) -> None:
    """Fetch what a call refers to: a trainer has no connection to anybody. Weights may be there already.

    Raises `NoMemory`, `BadMessage` when bytes are gone or not what was announced, and `broker.errors.Late`.
    """
    refs = {field: ref for field, tensors in _brought(call) if (ref := announced_ref(tensors)) is not None}
    there = await ahead.claim(refs.get("weights"))
    memory.keep([] if there is None else [there])
    if there is not None:
        call.spans["weights"].CopyFrom(there)
        del refs["weights"]
    for field, ref in refs.items():
        span = await in_thread(memory.reserve, ref.size)
        try:
            await blob.get(session, ref, into=memory.view(span), timeout_s=NEXT_CHUNK_S)
        except BadBlob as error:
            raise BadMessage(str(error)) from None
        call.spans[field].CopyFrom(span)


async def send(
    session: Session, memory: Memory, answer: TrainerAnswer, *, room: topology.Room, edition: int = 0
) -> None:
    """Write what a trainer left in memory to the rooms that a leader has made for it, and refer to it there.

    `room` is any of them. Raises `Unroutable` when they are gone, and `BadMessage` for what is nowhere in memory.
    """
    for field, cargo in CARGOES.items():
        if field in answer.spans:
            tensors, to = getattr(answer.train, field), replace(room, cargo=cargo)
            layout, span = read_layout(tensors.layout), answer.spans[field]
            if not tensors.compression and span.size != layout.nbytes:
                raise BadMessage(f"the trainer's {field} has {span.size} bytes, where its tensors take {layout.nbytes}")
            data = memory.view(span)
            up = topology.UP.name
            ref = await blob.write(session, to.stream, data, exchange=up, routing_key=to.key, edition=edition)
            tensors.CopyFrom(referring(layout, ref, tensors.compression))


def _brought(call: TrainerCall) -> Iterator[tuple[str, Tensors]]:
    kind = call.WhichOneof("call")
    request = getattr(call, kind)
    for field in BROUGHT[kind]:
        if request.HasField(field):
            yield field, getattr(request, field)
