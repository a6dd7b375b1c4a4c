"""A client of private runs that says what it is told to, and a secret of centrally private ones that is known."""

from collections.abc import Callable

from broker import topology
from broker.base import Message, Session, Stream
from fl.server.secret import OFFER
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import Error, PrivacyReply, PrivacyRequest, TrainRequest
from tests.integration.world import Puppet


class Private(Puppet):
    """A client that settles anything, on terms that may be changed, and refuses to train in some rounds."""

    def __init__(self, name: str, refuses: set[int], alter: Callable[[PrivacyReply], None] | None = None) -> None:
        super().__init__(name)
        self._refuses = refuses
        self._alter = alter

    async def _reply(self, body: Body) -> Body | None:
        if isinstance(body, PrivacyRequest):
            reply = PrivacyReply(noise_multiplier=1.0, planned_steps=5)
            if self._alter is not None:
                self._alter(reply)
            return reply
        if isinstance(body, TrainRequest) and body.round in self._refuses:
            text = "the budget is spent"
            return Error(code=Error.Code.REFUSED, text=text, round=body.round, weights_digest=body.weights.digest)
        return await super()._reply(body)


async def offer_secret(session: Session, run: str, secret: bytes) -> None:
    """Put a secret where the first one counts, before any leader does."""
    await session.declare(Stream(topology.secret_stream(run)))
    await session.publish(Message(secret, type=OFFER), routing_key=topology.secret_stream(run))
