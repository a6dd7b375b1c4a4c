"""`fluffle doctor`, `resume` and `runs` on the real broker: what they say of runs in trouble, and that it helps."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

from broker import topology
from broker.base import Message
from broker.local import LocalRabbit
from fl.cli.main import app
from fl.run.events import LeaderStarted, RoundOpened, RunPaused, Status
from fl.run.step import LOGIC_VERSION
from fl.submit.submission import Submission
from fl.wire.records import write_record
from tests.integration.parties import Parties
from tests.integration.test_bad_input import START
from tests.integration.world import Puppet, garbage, make_spec, until

pytestmark = pytest.mark.rabbitmq

Ask = Callable[..., Awaitable[Result]]


@pytest.fixture
def ask(rabbit_url: str) -> Ask:
    """What a command says, while everybody else goes on."""

    async def call(*arguments: str, url: str = rabbit_url) -> Result:
        environment = {"FLUFFLE_BROKER": url, "COLUMNS": "300"}
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)

    return call


async def opened(parties: Parties, submission: Submission) -> None:
    await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))


async def paused(parties: Parties, submission: Submission) -> None:
    await parties.until_record(submission, lambda record: isinstance(record, RunPaused))


async def test_a_run_that_goes_on_is_well(rabbit_url: str, ask: Ask) -> None:
    # Given a client that is at work
    ant = Puppet("ant")
    ant.withhold(1)
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await until(lambda: ant.was_asked(1))

        # When
        one, all_ = await ask("doctor", submission.run), await ask("doctor")

    # Then
    assert (one.exit_code, all_.exit_code) == (0, 0), one.output + all_.output
    assert one.output.startswith(f"run {submission.run}: round 1 of 1: 1 clients train\n- worker leads it since ")
    assert "- ant is awaited for 0:" in one.output
    assert all_.output.startswith("broker: RabbitMQ ")
    assert "as user guest" in all_.output
    assert "round 1 of 1: 1 clients train" in all_.output


async def test_a_run_without_worker_wants_one(rabbit_url: str, ask: Ask) -> None:
    # Given
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(), START)

    # When
    one, all_ = await ask("doctor", submission.run), await ask("doctor")

    # Then
    assert (one.exit_code, all_.exit_code) == (1, 1)
    sentence = f"nobody leads it: no worker consumes {topology.run_queue(submission.run)}"
    assert f"! {sentence}" in one.output
    assert "to do: start a worker: `fluffle server`" in one.output
    assert sentence in all_.output


async def test_a_client_whose_daemon_is_gone_in_mid_round_is_named(rabbit_url: str, ask: Ask) -> None:
    # Given
    ant, bee = Puppet("ant"), Puppet("bee")
    bee.withhold(1)
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        await until(lambda: ant.was_asked(1) and bee.was_asked(1))
        await parties.stop("bee")
        await parties._sessions["bee"].close()

        # When
        async with asyncio.timeout(30):
            while "no daemon of that name" not in (said := await ask("doctor", submission.run)).output:
                await asyncio.sleep(0.2)

    # Then
    assert said.exit_code == 1
    assert "no daemon of that name is connected; requests that wait in fl.client.bee: 1" in said.output
    assert "to do: start the daemon there: `fluffle client FILE`" in said.output


async def test_a_pause_is_seen_everywhere_and_a_run_that_is_resumed_goes_on(rabbit_url: str, ask: Ask) -> None:
    # Given a run that lacks a client that could not build the model
    bee = Puppet("bee", unable="no such layer")
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (Puppet("ant"), bee):
            parties.puppet(puppet, submission.run)
        await paused(parties, submission)

        # When
        one, all_, listed = await ask("doctor", submission.run), await ask("doctor"), await ask("runs")
        bee._unable = ""
        resumed = await ask("resume", submission.run)
        outcome = await parties.outcome(submission)

    # Then
    reason = "1 of at least 2 clients can take part; bee: no such layer"
    assert (one.exit_code, all_.exit_code) == (1, 1)
    assert one.output.startswith(f"run {submission.run}: paused: {reason}\n")
    assert f"`fluffle resume {submission.run}`" in one.output
    assert "! bee takes no part: no such layer" in one.output
    assert reason in all_.output
    assert "paused" in listed.output
    assert resumed.output.startswith(f"asked {submission.run} to ask its clients again")
    assert outcome.status is Status.FINISHED


async def test_only_what_is_paused_can_be_resumed(rabbit_url: str, ask: Ask) -> None:
    # Given a run that goes on, and later is over
    ant = Puppet("ant")
    ant.withhold(1)
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await opened(parties, submission)

        # When
        early = await ask("resume", submission.run)
        ant.let_go(1)
        await parties.outcome(submission)
        await parties.until_closed(submission)
        async with asyncio.timeout(30):
            while "is over" not in str((late := await ask("resume", submission.run)).exception):
                await asyncio.sleep(0.1)
        over, none = await ask("doctor", submission.run), await ask("doctor")

    # Then
    sentence = f"run {submission.run} is not paused, there is nothing to resume: round 1 of 1: 1 clients train"
    assert str(early.exception) == sentence
    assert str(late.exception) == f"run {submission.run} is over: finished, all 1 rounds done"
    assert over.exit_code == 0
    assert over.output.splitlines()[1:] == ["- it is over, finished: all 1 rounds done"]
    assert (none.exit_code, none.output.splitlines()[1:]) == (0, ["no open runs"])


async def test_dead_letters_are_told_of_with_their_run(rabbit_url: str, ask: Ask) -> None:
    # Given a run whose queue got garbage
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(), START)
        parties.worker()
        await parties.owner.publish(garbage(), routing_key=topology.run_queue(submission.run))
        async with asyncio.timeout(30):
            while (await parties.owner.count(topology.DEAD_QUEUE.name)).messages == 0:
                await asyncio.sleep(0.05)

        # When
        one, all_ = await ask("doctor", submission.run), await ask("doctor")

    # Then
    assert (one.exit_code, all_.exit_code) == (1, 1)
    assert "! 1 dead letter is of this run" in one.output
    assert "! there is 1 dead letter: messages that nobody could handle" in all_.output


async def test_logs_of_newer_releases_are_said_to_be_so(rabbit_url: str, ask: Ask) -> None:
    # Given one run that was led by newer rules, and one with a record of a kind that did not exist
    async with Parties(rabbit_url) as parties:
        led, odd = await parties.submit(make_spec(), START), await parties.submit(make_spec(), START)
        newer = write_record("x", LeaderStarted("x", "worker-9", LOGIC_VERSION + 1), number=0, now=1000.0)
        await parties.owner.publish(newer, routing_key=topology.run_log(led.run))
        await parties.owner.publish(Message(b"", type="of tomorrow"), routing_key=topology.run_log(odd.run))

    # When
    of_led, of_odd, listed = await ask("doctor", led.run), await ask("doctor", odd.run), await ask("runs")

    # Then
    assert f"led by the rules of version {LOGIC_VERSION + 1}" in of_led.output
    assert "what is said here may be wrong: a record of type 'of tomorrow'" in of_odd.output
    assert (of_led.exit_code, of_odd.exit_code) == (1, 1)
    assert "of another release" in listed.output


async def test_for_programs_there_is_json(rabbit_url: str, ask: Ask) -> None:
    # Given
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(), START)

    # When
    one, all_ = await ask("doctor", submission.run, "--json"), await ask("doctor", "--json")

    # Then
    told, everything = json.loads(one.stdout), json.loads(all_.stdout)
    assert (told["run"], told["is_well"], told["state"]) == (submission.run, False, "waiting for a worker to lead it")
    assert told["findings"][0]["todo"].startswith("start a worker")
    assert (everything["user"], everything["problems"]) == ("guest", [])
    assert [run["run"] for run in everything["runs"]] == [submission.run]


async def test_who_may_not_look_is_told_so(rabbit: LocalRabbit, rabbit_url: str, ask: Ask) -> None:
    # Given somebody who may connect, and nothing else
    vhost = rabbit_url.rpartition("/")[2]
    async with Parties(rabbit_url) as parties:
        await parties.submit(make_spec(), START)
    rabbit.ctl("add_user", f"eve-{vhost}", "secret")
    rabbit.ctl("set_permissions", "-p", vhost, f"eve-{vhost}", "^$", "^$", "^$")

    # When
    said = await ask("doctor", url=rabbit.url_of(f"eve-{vhost}", "secret") + vhost)
    rabbit.ctl("delete_user", f"eve-{vhost}")

    # Then
    assert said.exit_code == 1
    assert f"! user eve-{vhost} may not see what runs there are" in said.output
    assert f"! user eve-{vhost} may not look at dead letters" in said.output
    assert "secret" not in said.output


async def test_a_run_that_does_not_exist_is_told_with_the_nearest_name(rabbit_url: str, ask: Ask) -> None:
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(), START)
    said = await ask("doctor", f"{submission.run[:-1]}?")
    assert f"did you mean '{submission.run}'" in str(said.exception)
