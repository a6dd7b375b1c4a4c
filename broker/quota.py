"""How much of the broker one run may take: one figure, kept on the broker itself, for all who fill it.

No party without an open port to the broker's management learns how much room it has: AMQP does not tell. Nor would a
limit on streams do, by a policy or in their declarations: a stream that is full forgets its oldest records and takes
new ones, and where the disk is full the broker stops every run. So whoever runs the broker says once what a run may
take, and those who would publish more ask before they do.
"""

import uuid
from typing import TYPE_CHECKING, Final

from broker.base import Message, Session
from broker.errors import NotFound
from broker.topology import MARKER, QUOTA

if TYPE_CHECKING:
    from broker.blocking import BlockingBroker

DEFAULT_MIB: Final = 65_536
"""What a run may take where nobody has said: 64 GiB."""

_TYPE: Final = "quota"
_MIB: Final = "mib"


def set_quota(broker: "BlockingBroker", mib: int) -> None:
    """From now on a run that starts may take so many MiB. Raises `AccessRefused`."""
    broker.declare(QUOTA)
    broker.publish(record_of(mib), routing_key=QUOTA.name)


def record_of(mib: int) -> Message:
    """What says so in the stream of quotas, where the last one counts."""
    if mib < 1:
        raise ValueError(f"a run must be able to take 1 MiB at least, not {mib}")
    return Message(b"", type=_TYPE, headers={_MIB: mib})


def quota_of(broker: "BlockingBroker") -> int:
    """MiB that one run may take."""
    quota = DEFAULT_MIB
    try:
        for message in broker.read(QUOTA.name):
            quota = _after(quota, message)
    except NotFound:
        return DEFAULT_MIB
    return quota


async def read_quota(session: Session) -> int:
    """MiB that one run may take."""
    try:
        records = await session.read(QUOTA.name)
    except NotFound:
        return DEFAULT_MIB
    quota, marker = DEFAULT_MIB, uuid.uuid4().hex
    async with records:
        await session.publish(Message(b"", type=MARKER, message_id=marker), routing_key=QUOTA.name)
        async for delivery in records:
            await delivery.ack()
            if delivery.message.message_id == marker:
                return quota
            quota = _after(quota, delivery.message)
    return DEFAULT_MIB  # it was deleted meanwhile


def _after(quota: int, message: Message) -> int:
    """What holds after one more record; what is none of ours changes nothing."""
    mib = message.headers.get(_MIB)
    return mib if message.type == _TYPE and isinstance(mib, int) and mib > 0 else quota
