"""Running side by side."""

import asyncio

import pytest

from fl.tasks import together


async def test_the_first_error_comes_out_as_itself_and_ends_the_others() -> None:
    ended = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        async with together() as group:
            group.create_task(wait_for_ever())
            group.create_task(fail())

    assert ended == ["other"]


async def test_an_error_in_the_body_comes_out_as_itself() -> None:
    with pytest.raises(KeyError):
        async with together() as group:
            group.create_task(asyncio.sleep(60))
            raise KeyError("body")


async def test_groups_within_groups_give_the_innermost_error() -> None:
    async def inner() -> None:
        async with together() as group:
            group.create_task(asyncio.sleep(60))
            raise ConnectionError("deep")

    with pytest.raises(ConnectionError, match="deep"):
        async with together() as group:
            group.create_task(inner())
