"""The broker crashes, or takes no messages for lack of memory or disk: no bit of a run changes."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator

import pytest

from broker.local import LocalRabbit
from tests.faults.campaign import Told
from tests.faults.trouble import SIZES, Play, calm, committed, opened, play, uploading
from tests.rabbit_tools import age, alarm, virtual_hosts

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

Moment = Callable[[Play], Awaitable[None]]

MOMENTS = [
    pytest.param("small", opened, id="small, a round was just opened"),
    pytest.param("small", committed, id="small, a round was just committed"),
    pytest.param("bulk", opened, id="bulk, a round was just opened"),
    pytest.param("bulk", uploading, id="bulk, an update is uploaded"),
    pytest.param("bulk", committed, id="bulk, a round was just committed"),
]


@pytest.fixture(scope="module")
def expected() -> dict[str, Told]:
    """What each run comes to on an undisturbed broker."""
    return {size: asyncio.run(calm(f"memory://{secrets.token_hex(4)}", size)) for size in SIZES}


@pytest.fixture(scope="module")
def node() -> Iterator[LocalRabbit]:
    with LocalRabbit() as node:
        age(node)
        yield node


@pytest.fixture(scope="module")
def hosts(node: LocalRabbit) -> Iterator[str]:
    return virtual_hosts(node)


@pytest.fixture
def url(node: LocalRabbit, hosts: Iterator[str]) -> str:
    """A virtual host of the node for one run."""
    return f"{node.url}{next(hosts)}"


@pytest.mark.parametrize(("size", "moment"), MOMENTS)
async def test_a_broker_that_is_killed_and_started_again_changes_no_bit(
    node: LocalRabbit, url: str, expected: dict[str, Told], size: str, moment: Moment
) -> None:
    async with play(url, size) as playing:
        # When
        await moment(playing)
        await asyncio.to_thread(node.restart)

        # Then
        played = await playing.end()
        assert played.n_leaders > 1, "the run was over before the broker was killed"
        assert played.told == expected[size]


@pytest.mark.parametrize(("what", "reason"), [("memory", "low on memory"), ("disk", "low on disk")])
@pytest.mark.parametrize(
    ("size", "workers"),
    [("small", 1), pytest.param("bulk", 0, id="bulk, which stops an upload before the leader has anything to say")],
)
async def test_an_alarm_in_mid_round_changes_no_bit_and_whoever_publishes_says_so_once(
    node: LocalRabbit, url: str, expected: dict[str, Told], what: str, reason: str, size: str, workers: int
) -> None:
    async with play(url, size, held=True) as playing:
        # Given
        await opened(playing)

        # When
        async with alarm(node, what):
            playing.let_go()
            await playing.until_said(clients=1, workers=workers)

        # Then
        played = await playing.end()
        assert [said for said in playing.said.values() if said not in ([], [reason, None])] == []
        assert (played.told, played.n_leaders) == (expected[size], 1)
