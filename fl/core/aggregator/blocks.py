"""The shape of a round's sum: blocks of clients in the order of their names, each summed, and their sums added in turn.

Additions of floats are not associative, so the sum has one shape, whoever takes which part of it: the clients that a
round asks, by name, cut into blocks of `BLOCK`. With one block that is a sum in the order of the names.
"""

from collections.abc import Iterable
from typing import Final

from fl.core.aggregator.api import Aggregator, Fold
from fl.core.aggregator.weighted import AccumulatingFold, PartwiseFold
from fl.core.layout import Layout, TensorSpec
from fl.core.mergeable import PartwiseSum
from fl.core.vector import TakeFloats

BLOCK: Final = 64
"""Clients of a block. Another number gives other bits: whoever folds a round of a run, of any release, has this one."""


def blocks(asked: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The clients that a round asks, in blocks; whoever of them does not answer leaves a gap in its own."""
    names = sorted(asked)
    return tuple(tuple(names[start : start + BLOCK]) for start in range(0, len(names), BLOCK))


def shard_of(block: int, n_blocks: int, shards: int) -> int:
    """Who sums a block where so many share the work: neighbours, and none more than one block above another."""
    return block * shards // n_blocks


def sums_blocks(aggregator: Aggregator) -> bool:
    """Whether what an aggregator makes of a block can be added to what it makes of another."""
    return isinstance(aggregator.start(Layout((TensorSpec("any", "float32", (1,)),))), AccumulatingFold)


def fold_in_blocks(aggregator: Aggregator, layout: Layout, asked: Iterable[str]) -> Fold:
    """An empty fold of a round. Aggregators that look at all updates at once, or merge them, have no use for blocks."""
    fold, cut = aggregator.start(layout), blocks(asked)
    return BlockFold(aggregator, fold, cut) if isinstance(fold, AccumulatingFold) and len(cut) > 1 else fold


class BlockFold(PartwiseFold):
    """All blocks by one hand: one accumulator for the block that is being summed, one for those before it."""

    def __init__(self, aggregator: Aggregator, first: AccumulatingFold, cut: tuple[tuple[str, ...], ...]) -> None:
        super().__init__(first.layout)
        self._aggregator = aggregator
        self._block_of = {client: number for number, block in enumerate(cut) for client in block}
        self._whole = self._block = first
        self._number = 0
        """Of the block that is being summed, or begun."""

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        """Raises `ValueError` for a client of a block that was before: blocks come in their order."""
        number = self._block_of[client]
        if number < self._number:
            raise ValueError(f"client {client!r} is of block {number}, and block {self._number} has begun")
        if number > self._number:
            self._add_up()
            self._block, self._number = self._new_block(), number
        return self._block.open(client=client, n_steps=n_steps, n_samples=n_samples)

    def sum(self) -> PartwiseSum:
        self._add_up()
        return self._whole.sum()

    def _add_up(self) -> None:
        if self._block is not self._whole:
            self._whole.absorb(self._block)
            self._block = self._whole

    def _new_block(self) -> AccumulatingFold:
        fold = self._aggregator.start(self.layout)
        assert isinstance(fold, AccumulatingFold), "an aggregator has one kind of fold"
        return fold
