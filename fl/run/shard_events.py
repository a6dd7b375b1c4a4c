"""What shards tell the leader of a run whose sums they share: inputs to its decisions, beside those of `events`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RepliesHeld:
    """A shard holds replies to a round, unacknowledged; `base` is the digest of the weights they started from."""

    clients: tuple[str, ...]
    round: int
    base: bytes


@dataclass(frozen=True, slots=True)
class RepliesLacking:
    """A shard has not got replies that are to be in the sum: they went with a queue, or into a sum of others.

    `queue_lost`: some may have gone before anybody was told of them.
    """

    clients: tuple[str, ...]
    round: int
    base: bytes
    queue_lost: bool = False


@dataclass(frozen=True, slots=True)
class BlockSummed:
    """A shard has summed the updates of these clients, which are those of one block that are to be in the sum."""

    block: int
    clients: tuple[str, ...]
    round: int
    base: bytes


@dataclass(frozen=True, slots=True)
class SumFailed:
    """A shard cannot add up a round, and nobody else could."""

    reason: str
    round: int
    base: bytes
