"""The secret of a run: what its noise, and the choice of its clients, come from.

It is in a stream of its own, so that others may read the run's log, and is deleted with the run: then nobody can take
noise off any more. Whoever leads offers one, and the first in the stream is it, for all leaders.
"""

from secrets import token_bytes
from typing import Final

from broker import topology
from broker.base import Message, Session, Stream
from fl.run.releases import SECRET_BYTES
from fl.server.run_log import RunOver

OFFER: Final = "offer"
"""Type of the messages in it."""


async def secret_of(session: Session, run: str) -> bytes:
    """The secret, the same for every leader of a run. Raises `RunOver` where it is deleted meanwhile."""
    stream = topology.secret_stream(run)
    await session.declare(Stream(stream))
    await session.publish(Message(token_bytes(SECRET_BYTES), type=OFFER), routing_key=stream)
    async with await session.read(stream) as entries:
        first = await anext(entries, None)
        if first is None:
            raise RunOver
        await first.ack()
        return bytes(first.message.body)
