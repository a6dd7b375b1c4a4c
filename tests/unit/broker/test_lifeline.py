"""Waiting on a session that may end: what is raised, whoever cancels."""

import asyncio

import pytest
from aio_pika.exceptions import ChannelInvalidStateError

from broker.errors import ConnectionLost
from broker.rabbitmq.lifeline import Lifeline


async def wait_on(lifeline: Lifeline, future: asyncio.Future[None]) -> None:
    with lifeline.held():
        await future


@pytest.fixture
async def forever() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def started(lifeline: Lifeline, future: asyncio.Future[None]) -> asyncio.Task[None]:
    task = asyncio.create_task(wait_on(lifeline, future))
    await asyncio.sleep(0)
    return task


async def test_cutting_ends_a_wait_that_nothing_else_would_end(forever: asyncio.Future[None]) -> None:
    lifeline = Lifeline()
    task = await started(lifeline, forever)

    lifeline.cut("the cable was pulled")

    with pytest.raises(ConnectionLost, match="cable"):
        await task


async def test_a_wait_after_the_cut_does_not_begin(forever: asyncio.Future[None]) -> None:
    lifeline = Lifeline()
    lifeline.cut("the cable was pulled")

    with pytest.raises(ConnectionLost, match="cable"):
        await wait_on(lifeline, forever)


async def test_the_first_reason_stays(forever: asyncio.Future[None]) -> None:
    lifeline = Lifeline()
    lifeline.cut("the cable was pulled")

    lifeline.cut("closed")

    with pytest.raises(ConnectionLost, match="cable"):
        await wait_on(lifeline, forever)


async def test_cancelling_the_caller_cancels(forever: asyncio.Future[None]) -> None:
    task = await started(Lifeline(), forever)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_the_caller_just_before_it_waits_cancels(forever: asyncio.Future[None]) -> None:
    async def cancelled_while_it_computes() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await wait_on(Lifeline(), forever)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(cancelled_while_it_computes())


async def test_cancelling_the_caller_wins_over_a_cut_at_the_same_moment(forever: asyncio.Future[None]) -> None:
    lifeline = Lifeline()
    task = await started(lifeline, forever)

    lifeline.cut("the cable was pulled")
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_the_library_cancels_is_a_lost_connection(forever: asyncio.Future[None]) -> None:
    task = await started(Lifeline(), forever)

    forever.cancel()

    with pytest.raises(ConnectionLost):
        await task


@pytest.mark.parametrize("error", [ChannelInvalidStateError("closed"), OSError("reset"), Exception()])
async def test_what_the_library_raises_is_a_lost_connection(forever: asyncio.Future[None], error: Exception) -> None:
    task = await started(Lifeline(), forever)

    forever.set_exception(error)

    with pytest.raises(ConnectionLost):
        await task


async def test_what_is_not_the_librarys_passes_through(forever: asyncio.Future[None]) -> None:
    task = await started(Lifeline(), forever)

    forever.set_exception(ValueError("ours"))

    with pytest.raises(ValueError, match="ours"):
        await task


async def test_a_timeout_around_a_wait_still_works(forever: asyncio.Future[None]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait_on(Lifeline(), forever)


async def test_a_task_goes_on_after_a_cut_wait(forever: asyncio.Future[None]) -> None:
    # Given
    lifeline = Lifeline()

    async def survive() -> int:
        with pytest.raises(ConnectionLost):
            await wait_on(lifeline, forever)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(survive())
    await asyncio.sleep(0)

    # When
    lifeline.cut("the cable was pulled")

    # Then
    assert await task == 0
