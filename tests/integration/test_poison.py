"""What must not end a daemon, nor come back to it for ever."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from broker import topology
from fl.client.state import StateDirectory
from fl.core.vector import NumpyVector
from fl.run.events import Status
from fl.wire.envelope import Body, body_of, seal, unseal, wrap
from fl.wire.messages_pb2 import (
    Classes,
    DataInfo,
    Error,
    JoinReply,
    JoinRequest,
    RunSubmitted,
    StopRequest,
    TrainRequest,
)
from fl.wire.tensors import inline
from tests.integration.parties import Parties
from tests.integration.world import make_spec, regression, sites_of, until


async def send(parties: Parties, run: str, body: Body) -> None:
    """To the daemon of site "ant", as a leader does."""
    message = seal(wrap(run, "leader", body, now=0.0))
    await parties.owner.publish(message, exchange=topology.DOWN.name, routing_key=f"{run}.ant.any")


async def until_served(parties: Parties) -> None:
    """A run of its own tells that the daemon lives, and has room for another one."""
    parties.worker()
    outcome = await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1)))
    assert outcome.status is Status.FINISHED


async def test_an_announcement_that_nobody_can_read_is_passed_over(memory_url: str) -> None:
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        # Given a spec that is nested deeper than a program can follow
        poison = RunSubmitted(spec_json="[" * 200_000)
        await parties.owner.publish(seal(wrap("deep", "x", poison, now=0.0)), routing_key=topology.RUNS.name)

        parties.daemon(ant)

        await until_served(parties)


async def test_an_answer_to_an_earlier_session_takes_no_place_from_a_run(memory_url: str) -> None:
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        await parties.owner.declare(*topology.client("ant"))
        await send(parties, "over", JoinReply(accepted=True))

        parties.daemon(replace(ant, max_runs=1))

        await until_served(parties)


async def test_a_request_to_an_earlier_session_is_answered_after_the_news_that_this_one_is_new(memory_url: str) -> None:
    # Given a request that a daemon did not live to answer
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        await parties.owner.declare(*topology.client("ant"), *topology.run("trial"))
        await send(parties, "trial", TrainRequest(round=2))

        # When another takes its place
        parties.daemon(ant)

        # Then it asks to join before it says that it does not know the run
        async with await parties.owner.consume(topology.run_queue("trial"), prefetch=2) as letters:
            first, second = [body_of(unseal((await anext(letters)).message)) for _ in range(2)]
    assert isinstance(first, JoinRequest)
    assert isinstance(second, Error)
    assert second.code == Error.Code.UNINITIALISED


async def test_a_queue_that_is_deleted_is_made_again_where_the_daemon_may(memory_url: str) -> None:
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        parties.daemon(ant)
        await until_served(parties)

        await parties.owner.delete(topology.client_queue("ant"))

        assert (await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1)))).status is Status.FINISHED


async def test_a_queue_whose_binding_is_missing_gets_it(memory_url: str) -> None:
    # Given what a daemon leaves that was cut off between the declaration of its queue and that of the binding
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        queue, _ = topology.client("ant")
        await parties.owner.declare(queue)

        parties.daemon(ant)

        await until_served(parties)


@pytest.mark.rabbitmq
async def test_data_info_that_is_too_long_for_a_message_keeps_a_site_out_of_runs_and_not_from_living(
    rabbit_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a broker that takes 2 MiB a message, and a site with more labels than that
    ant, bee = await sites_of({"ant": regression(0), "bee": regression(1)})
    labels = Classes(strings=[f"label {number:0100}" for number in range(30_000)])
    many = DataInfo(n_samples=40, classes=labels)
    async with Parties(rabbit_url) as parties:
        parties.daemon(replace(ant, data_info=many))
        parties.daemon(bee)

        await until_served(parties)
        await until(lambda: "not_joined client=ant" in caplog.text)

        await parties.stop("ant")  # raises what it ended with


WEIGHTS = NumpyVector.from_arrays({"w": np.ones(3)})


def folder_in_the_way(folder: Path) -> StopRequest:
    (folder / "kept").write_text("a file")
    return StopRequest(status="finished", weights=inline(WEIGHTS))


def weights_that_are_none(_: Path) -> StopRequest:
    stop = StopRequest(status="finished", weights=inline(WEIGHTS))
    stop.weights.layout[0].dtype = "float7"
    return stop


@pytest.mark.parametrize("farewell", [folder_in_the_way, weights_that_are_none])
async def test_a_farewell_whose_weights_cannot_be_kept_ends_the_run_all_the_same(
    memory_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, farewell: Callable[[Path], StopRequest]
) -> None:
    # Given a site that has state of a run
    (ant,) = await sites_of({"ant": regression(0)})
    state = StateDirectory(tmp_path / "state")
    state.secret_seed("trial")
    async with Parties(memory_url) as parties:
        await parties.owner.declare(*topology.client("ant"))

        # When the run's farewell brings weights that cannot be kept
        await send(parties, "trial", farewell(tmp_path))
        parties.daemon(replace(ant, state=state, checkpoint=tmp_path / "kept", max_runs=1))

        # Then the state is gone, and other runs are served
        await until(lambda: not state.knows("trial"))
        await until_served(parties)
    assert "weights_not_kept client=ant run=trial" in caplog.text
