"""Reconnecting: back off, start again, and let everything but a lost connection pass."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.base import Session
from broker.errors import AccessRefused, BrokerError, ConnectionLost, Retryable, Unreachable
from broker.memory import MemoryBroker
from broker.retry import Backoff, keep_connected


class Script:
    """What happens at each attempt: an error while opening, one while working, or the end of the work."""

    def __init__(self, *steps: tuple[str, BrokerError | str]) -> None:
        self._steps = list(steps)
        self.sessions: list[Session] = []
        self.troubles: list[tuple[Retryable, float]] = []
        self.slept: list[float] = []

    async def open(self) -> Session:
        what, outcome = self._steps[0]
        if what == "open":
            del self._steps[0]
            assert isinstance(outcome, BrokerError)
            raise outcome
        session = MemoryBroker().connect()
        self.sessions.append(session)
        return session

    async def work(self, session: Session) -> str:
        assert session is self.sessions[-1]
        _, outcome = self._steps.pop(0)
        if isinstance(outcome, BrokerError):
            raise outcome
        return outcome

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)

    async def run(self) -> str:
        return await keep_connected(
            self.open,
            self.work,
            rng=Random(1),
            on_trouble=lambda error, delay_s: self.troubles.append((error, delay_s)),
            sleep=self.sleep,
        )


LOST = ConnectionLost("lost")
NOBODY = Unreachable("nobody")


async def test_it_returns_what_the_work_returns() -> None:
    script = Script(("work", "done"))

    assert (await script.run(), script.slept) == ("done", [])


async def test_each_attempt_gets_a_new_session() -> None:
    script = Script(("work", LOST), ("work", LOST), ("work", "done"))

    await script.run()

    assert len({id(session) for session in script.sessions}) == 3


async def test_every_session_is_closed() -> None:
    script = Script(("work", LOST), ("work", "done"))

    await script.run()

    for session in script.sessions:
        with pytest.raises(ConnectionLost):
            await session.count("any")


async def test_each_trouble_is_reported_with_the_wait_that_follows() -> None:
    script = Script(("open", NOBODY), ("work", LOST), ("work", "done"))

    await script.run()

    assert script.troubles == list(zip([NOBODY, LOST], script.slept, strict=True))


async def test_what_a_person_must_mend_passes_through_after_closing() -> None:
    # Given
    script = Script(("work", AccessRefused("no permission")))

    # When
    with pytest.raises(AccessRefused, match="no permission"):
        await script.run()

    # Then
    with pytest.raises(ConnectionLost):
        await script.sessions[0].count("any")


async def test_what_a_person_must_mend_passes_through_from_opening() -> None:
    with pytest.raises(AccessRefused):
        await Script(("open", NOBODY), ("open", AccessRefused("wrong password"))).run()


def test_the_wait_grows_from_one_second_to_thirty() -> None:
    class Highest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    waits = [Backoff().delay_s(failures, Highest()) for failures in range(7)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@given(failures=st.integers(0, 10**6), seed=st.integers())
def test_a_wait_is_never_negative_nor_beyond_the_most(failures: int, seed: int) -> None:
    assert 0.0 <= Backoff(first_s=0.5, most_s=7.0).delay_s(failures, Random(seed)) <= 7.0


async def test_a_session_that_opened_starts_the_back_off_afresh() -> None:
    # Given
    script = Script(*[("open", NOBODY)] * 6, ("work", LOST), ("work", "done"))

    # When
    await script.run()

    # Then
    *_, before, after = script.slept
    assert after <= 1.0 < before
