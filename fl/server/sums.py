"""Sums of blocks of clients, on their way from the workers that make them to the leader that adds them up."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from broker import blob, topology
from broker.base import Session, Stream
from broker.errors import Late
from broker.threads import in_thread
from fl.core.aggregator import Fold
from fl.core.aggregator.weighted import AccumulatingFold
from fl.core.layout import Layout, Role, TensorSpec
from fl.core.mergeable import Sum
from fl.core.optimizer.aux import pack_aux, unpack_aux
from fl.core.vector import NumpyVector
from fl.errors import BadMessage
from fl.run.events import ClientResult
from fl.run.state import RunState
from fl.server.fold import merged, round_aggregator
from fl.server.intake import Intake
from fl.wire.bulk import INLINE_BYTES, fetch, pour
from fl.wire.messages_pb2 import BlockSummed
from fl.wire.tensors import inline, referring
from fl.wire.tensors_pb2 import Tensors


class SumLost(Exception):
    """The sum of a block cannot be read: it must be made again."""

    def __init__(self, block: int, reason: str) -> None:
        self.block = block
        super().__init__(f"the sum of block {block}: {reason}")


@dataclass(frozen=True, slots=True)
class RoundSum:
    """All that a training round has come to, before it is a step of the weights."""

    fold: Fold
    aux: Mapping[str, Sum]
    """What the clients' optimizers have sent, added up."""
    results: tuple[ClientResult, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Which block of which round is summed; `base` is the digest of the weights that the round starts from."""

    run: str
    round: int
    base: bytes
    block: int
    leader: str
    """Who leads the run: what is written has its name."""

    @property
    def streams(self) -> tuple[str, str]:
        """Of the sum of updates, and of what optimizers tell."""
        place = (self.run, self.round, self.block, self.leader)
        return topology.sum_stream(*place), topology.aux_sum_stream(*place)


async def write_sum(session: Session, intake: Intake, place: Place) -> BlockSummed:
    """A message with what an intake has of one block, bulk being safe at the broker once this returns.

    Whoever sums the same clients writes the same bytes to the same streams, which is harmless; a sum of others is
    another edition.
    """
    fold = intake.fold
    assert isinstance(fold, AccumulatingFold), "one block is one accumulator"
    edition = zlib.crc32(",".join(intake.clients).encode())
    of_updates, of_aux = place.streams
    total = await _ship(session, _as_vector(fold), of_updates, edition)
    body = BlockSummed(
        round=place.round,
        weights_digest=place.base,
        block=place.block,
        parts=(_part(one) for one in intake.results),
        total=total,
        weight=fold.weight,
    )
    packed = await in_thread(lambda: pack_aux(intake.aux.total()))
    if packed is not None:
        body.aux.CopyFrom(await _ship(session, packed, of_aux, edition))
    return body


class RunningSum:
    """Adds up the sums of blocks, in their order: one accumulator, into which each is read part by part."""

    def __init__(self, session: Session, state: RunState, layout: Layout) -> None:
        fold = round_aggregator(state).start(layout)
        assert isinstance(fold, AccumulatingFold), "a spec with shards has an aggregator that sums"
        self._session = session
        self._fold = fold
        self._trainable = layout.select(Role.TRAINABLE)
        self._aux: dict[str, Sum] = {}
        self._results: list[ClientResult] = []

    async def take(self, block: int, body: object) -> None:
        """Add the sum of the next block. Raises `SumLost`, after which this is of no use."""
        assert isinstance(body, BlockSummed), "sums are held by their block"
        try:
            told = await self._read(body)
        except (BadMessage, Late, ValueError) as error:
            raise SumLost(block, str(error)) from None
        self._aux = await in_thread(lambda: merged(self._aux, told, of=f"block {block}"))
        self._results += (_result(part) for part in body.parts)

    @property
    def whole(self) -> RoundSum:
        return RoundSum(self._fold, self._aux, tuple(self._results))

    async def _read(self, body: BlockSummed) -> dict[str, Sum]:
        if [tuple(spec.shape) for spec in body.total.layout] != [self._fold.accumulated.shape]:
            raise BadMessage("it is not of the shape that the aggregator sums in")
        await pour(self._session, body.total, self._fold.open_block(body.weight))
        if not body.HasField("aux"):
            return {}
        return await in_thread(unpack_aux, await fetch(self._session, body.aux), self._trainable)


async def _ship(session: Session, vector: NumpyVector, stream: str, edition: int) -> Tensors:
    if vector.layout.nbytes <= INLINE_BYTES:
        return inline(vector)
    await session.declare(Stream(stream))
    return referring(vector.layout, await blob.write(session, stream, vector.pack(), edition=edition))


def _as_vector(fold: AccumulatingFold) -> NumpyVector:
    """The accumulator itself, as one tensor."""
    return NumpyVector(Layout((TensorSpec("sum", "float64", fold.accumulated.shape),)), fold.accumulated)


def _part(one: ClientResult) -> BlockSummed.Part:
    return BlockSummed.Part(
        client=one.client,
        n_steps=one.n_steps,
        n_samples=one.n_samples,
        seconds=one.seconds,
        update_norm=one.update_norm or 0.0,
    )


def _result(part: BlockSummed.Part) -> ClientResult:
    return ClientResult(part.client, part.n_steps, part.n_samples, part.seconds, update_norm=part.update_norm)
