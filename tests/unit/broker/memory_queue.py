"""Filling and emptying a queue of the broker in memory."""

from broker.base import Delivery, Message, Session


async def publish_all(session: Session, queue: str, bodies: list[bytes]) -> None:
    for body in bodies:
        await session.publish(Message(body), routing_key=queue)


async def drained(session: Session, queue: str) -> list[Delivery]:
    """Everything that is in the queue now."""
    count = (await session.count(queue)).messages
    subscription = await session.consume(queue, prefetch=10_000)
    return [await anext(subscription) for _ in range(count)]
