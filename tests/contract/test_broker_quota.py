"""How much of a broker one run may take: said once, read by all."""

import pytest

from broker.base import Message, Session
from broker.blocking import BlockingBroker
from broker.local import LocalRabbit
from broker.quota import DEFAULT_MIB, quota_of, read_quota, record_of, set_quota
from broker.topology import QUOTA


@pytest.fixture
async def clean(session: Session) -> Session:
    """A session of a broker for which nobody has said anything."""
    await session.delete(QUOTA.name)
    return session


async def test_a_run_may_take_the_default_where_nobody_has_said_anything(clean: Session) -> None:
    assert await read_quota(clean) == DEFAULT_MIB


async def test_what_was_said_last_holds(clean: Session) -> None:
    # Given
    await clean.declare(QUOTA)
    for mib in (100, 300, 200):
        await clean.publish(record_of(mib), routing_key=QUOTA.name)
        # Then, also where somebody has looked meanwhile
        assert await read_quota(clean) == mib


async def test_what_makes_no_sense_there_changes_nothing(clean: Session) -> None:
    await clean.declare(QUOTA)
    await clean.publish(record_of(100), routing_key=QUOTA.name)
    for odd in (Message(b"5"), Message(b"", type="quota"), Message(b"", type="quota", headers={"mib": -5})):
        await clean.publish(odd, routing_key=QUOTA.name)

    assert await read_quota(clean) == 100


@pytest.mark.rabbitmq
def test_the_synchronous_side_reads_and_says_the_same(rabbit: LocalRabbit) -> None:
    with BlockingBroker(rabbit.url) as broker:
        broker.delete(QUOTA.name)
        before = quota_of(broker)
        set_quota(broker, 300)
        set_quota(broker, 200)
        after = quota_of(broker)
        broker.delete(QUOTA.name)

    assert (before, after) == (DEFAULT_MIB, 200)


def test_nobody_can_say_that_runs_take_nothing() -> None:
    with pytest.raises(ValueError, match="1 MiB at least, not 0"):
        record_of(0)
