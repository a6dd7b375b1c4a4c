"""Who sums whose updates, where several workers share the sum of a training round.

The clients that a round asks are in blocks, whose shape no number of shards changes (`fl.core.aggregator.blocks`). Each
shard sums neighbouring blocks, one by one, and the leader adds up their sums.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from fl.core.aggregator.blocks import blocks, shard_of
from fl.run.events import Kind, RoundOpened
from fl.run.spec import RunSpec


def is_dealt(spec: RunSpec, opened: RoundOpened) -> bool:
    """Whether the replies to this round go to shards; otherwise the leader itself takes them."""
    return spec.run.shards > 1 and opened.kind is Kind.TRAIN


def shard_for(spec: RunSpec, opened: RoundOpened, client: str) -> int | None:
    """The shard that a client's reply is to go to; None: to the leader, or it is not asked."""
    if not is_dealt(spec, opened) or client not in opened.participants:
        return None
    places = _block_of(opened.participants)
    return shard_of(places[client], max(places.values()) + 1, spec.run.shards)


def blocks_of(spec: RunSpec, opened: RoundOpened, shard: int) -> dict[int, tuple[str, ...]]:
    """The blocks that a shard sums, by number, with the clients of each."""
    cut = blocks(opened.participants)
    return {number: block for number, block in enumerate(cut) if shard_of(number, len(cut), spec.run.shards) == shard}


def block_of(opened: RoundOpened, client: str) -> int:
    """The block of a client that is asked."""
    return _block_of(opened.participants)[client]


def by_block(opened: RoundOpened, clients: Iterable[str]) -> Mapping[int, tuple[str, ...]]:
    """Those clients of a round's sum that are in each block, in their order; blocks without any are left out."""
    places, found = _block_of(opened.participants), dict[int, tuple[str, ...]]()
    for client in sorted(clients):
        if client in places:
            found[places[client]] = (*found.get(places[client], ()), client)
    return found


@lru_cache(maxsize=8)
def _block_of(asked: tuple[str, ...]) -> Mapping[str, int]:
    return {client: number for number, block in enumerate(blocks(asked)) for client in block}
