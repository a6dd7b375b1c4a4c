"""The work on one block of clients: whose turn it is, what has been summed, and what has been sent."""

from collections.abc import Container
from dataclasses import dataclass, field

from fl.run.dealing import by_block
from fl.run.state import OpenRound, RunState
from fl.server.intake import Intake
from fl.wire.messages_pb2 import BlockSummed


@dataclass(slots=True)
class Block:
    """One block of the open round, at the worker that sums it."""

    number: int
    members: tuple[str, ...]
    """Its clients that were asked, in the order of their names."""
    intake: Intake | None = None
    made: BlockSummed | None = None
    """Its sum, safe at the broker as far as it is bulk."""
    sent: tuple[str, ...] | None = field(default=None)
    """Who is in the sum that the leader has."""

    @property
    def made_of(self) -> tuple[str, ...] | None:
        """Who is in the sum that is made."""
        return None if self.made is None else tuple(part.client for part in self.made.parts)

    def in_sum(self, open_: OpenRound) -> tuple[str, ...] | None:
        """Who is to be in the sum; None as long as that is not settled."""
        return None if open_.closed is None else by_block(open_.opened, open_.closed).get(self.number, ())

    def is_done(self, open_: OpenRound) -> bool:
        """Whether the leader has what it is to have, or is to have nothing."""
        names = self.in_sum(open_)
        return names is not None and (not names or self.sent == names)

    def ready(self, state: RunState, held: Container[str]) -> tuple[tuple[str, ...], bool]:
        """Whose updates may be summed so far, before anybody who is awaited; and whether those are all."""
        assert state.open is not None, "blocks are those of an open round"
        settled = self.in_sum(state.open)
        awaiting = state.awaiting if settled is None else frozenset(settled)
        found: list[str] = []
        for client in self.members if settled is None else settled:
            if client in held:
                found.append(client)
            elif client in awaiting:
                return tuple(found), False
        return tuple(found), True

    def lacking(self, open_: OpenRound, held: Container[str]) -> tuple[str, ...]:
        """Who is to be in the sum that is not made yet, and whose replies are not here."""
        names = self.in_sum(open_) or ()
        if self.is_done(open_) or self.made_of == names:
            return ()
        return tuple(client for client in names if client not in held)
