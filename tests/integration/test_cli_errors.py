"""What a person sees who made a mistake: one line that says what, where and what to do, and a failing exit code."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.local import LocalRabbit
from fl.run.events import RunEnded
from fl.submit.submission import cancellation
from tests.integration.parties import Parties
from tests.integration.processes import fluffle, run_fluffle
from tests.integration.test_bad_input import START
from tests.integration.world import Puppet, make_spec

NOWHERE = "amqp://alice:hush-hush@127.0.0.1:1/"

EXPERIMENT = """
name = "trial"
metrics = ["mse"]

[model]
kind = "sklearn-sgd"
[model.config]
kind = "regressor"

[optim]
client_opt = 0.1

[run]
rounds = 2
[run.training]
batch_size = 8

[[clients]]
name = "ant"
[clients.train]
path = "ant.csv"
target = "y"
"""

TWIN = '[[clients]]\nname = "ant"\n[clients.train]\npath = "ant.csv"\n'

MISTAKES: dict[str, tuple[Callable[[str], str], str]] = {
    "unknown key at the top": (lambda text: 'modle = "x"\n' + text, "unknown key 'modle'; did you mean 'model'"),
    "unknown key in a table": (lambda text: text.replace("rounds", "ruonds"), "unknown key 'ruonds'; did you mean"),
    "unknown key two tables deep": (
        lambda text: text.replace("batch_size", "batchsize"),
        "run.training: unknown key 'batchsize'; did you mean 'batch_size'?",
    ),
    "unknown key of a client": (
        lambda text: text.replace("target", "traget"),
        "clients.0.train: unknown key 'traget'; did you mean 'target'?",
    ),
    "unknown option of a model": (
        lambda text: text.replace('kind = "regressor"', 'kind = "regressor"\npenalt = "l1"'),
        "unknown option 'penalt'; did you mean 'penalty'?",
    ),
    "unknown kind of model": (lambda text: text.replace("sklearn-sgd", "sklern-sgd"), "did you mean 'sklearn-sgd'"),
    "unknown metric": (lambda text: text.replace('"mse"', '"mes"'), "unknown metric 'mes'; did you mean"),
    "wrong type": (lambda text: text.replace("rounds = 2", 'rounds = "two"'), "run.rounds: "),
    "number out of range": (lambda text: text.replace("rounds = 2", "rounds = 0"), "run.rounds: "),
    "not TOML": (lambda text: text + "[[[", "not valid TOML"),
    "no clients": (lambda text: text.partition("[[clients]]")[0], "no [[clients]]"),
    "two clients of one name": (lambda text: text + TWIN, "two clients are named 'ant'"),
    "no such column": (lambda text: text.replace('"y"', '"why"'), "has no column 'why'"),
    "no such data": (lambda text: text.replace("ant.csv", "bee.csv"), "bee.csv: no such file"),
}


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What a failed command says."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in done.stdout
    return line


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_file_is_one_line_that_says_where_and_what(tmp_path: Path, name: str) -> None:
    spoil, expected = MISTAKES[name]
    (tmp_path / "ant.csv").write_text("a,b,y\n" + "1,2,3\n" * 20)
    file = tmp_path / "trial.toml"
    file.write_text(spoil(EXPERIMENT))

    line = one_line(run_fluffle("quickrun", file, "--out", tmp_path / "out", folder=tmp_path))

    assert expected in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = one_line(run_fluffle("quickrun", tmp_path / "nothing.toml", folder=tmp_path))

    assert line == f"error: {tmp_path / 'nothing.toml'}: no such file"


@pytest.mark.parametrize("command", ["runs", "health", "submit", "cancel", "resume", "doctor", "dead list"])
def test_a_command_gives_up_on_a_broker_that_does_not_answer(tmp_path: Path, command: str) -> None:
    (tmp_path / "trial.toml").write_text(EXPERIMENT.partition("[[clients]]")[0])
    per_command = {"submit": [str(tmp_path / "trial.toml")], "cancel": ["trial"], "resume": ["trial"]}
    arguments = [*command.split(), *per_command.get(command, [])]

    line = one_line(run_fluffle(*arguments, "--timeout", "0.5", folder=tmp_path, FLUFFLE_BROKER=NOWHERE))

    assert "127.0.0.1:1" in line
    assert "hush-hush" not in line


@pytest.mark.parametrize("command", ["server", "client"])
async def test_a_service_waits_for_a_broker_that_does_not_answer_and_says_so(tmp_path: Path, command: str) -> None:
    (tmp_path / "ant.csv").write_text("a,b,y\n" + "1,2,3\n" * 20)
    site = tmp_path / "ant.toml"
    site.write_text('name = "ant"\nstate = "state"\n[train]\npath = "ant.csv"\ntarget = "y"\n')
    arguments = [site] if command == "client" else []

    with fluffle(command, *arguments, broker=NOWHERE, folder=tmp_path, name="service") as service:
        await service.until_logged("broker_lost", times=2)
        code = await service.signal(signal.SIGTERM)

    assert code == 0
    assert "again_in_s=" in service.log
    assert "hush-hush" not in service.log
    assert "Traceback" not in service.log


@pytest.mark.rabbitmq
@pytest.mark.parametrize("command", ["runs", "server"])
def test_wrong_credentials_name_the_user_and_the_vhost_and_not_the_password(
    rabbit: LocalRabbit, tmp_path: Path, command: str
) -> None:
    url = rabbit.url_of("alice", "hush-hush") + "somewhere"

    line = one_line(run_fluffle(command, folder=tmp_path, FLUFFLE_BROKER=url))

    assert "alice" in line
    assert "somewhere" in line
    assert "hush-hush" not in line


@pytest.mark.rabbitmq
async def test_commands_about_runs_that_cannot_be_what_was_asked_for_say_so(rabbit_url: str, tmp_path: Path) -> None:
    # Given: one run that failed without weights, and one that nobody leads
    async with Parties(rabbit_url) as parties:
        failed = await parties.submit(make_spec(register={"min_clients": 2, "timeout": 0.2}))
        parties.worker()
        await parties.outcome(failed)
        await parties.until_closed(failed)
        await parties.stop("worker")
        waiting = await parties.submit(make_spec())

    def ask(*arguments: str | Path) -> str:
        return one_line(run_fluffle(*arguments, folder=tmp_path, FLUFFLE_BROKER=rabbit_url))

    # Then
    assert "no run 'nothing'" in ask("cancel", "nothing")
    assert f"run {failed.run} is over: failed, no client joined in time" in ask("cancel", failed.run)
    assert f"run {failed.run} has no weights" in ask("fetch", failed.run, tmp_path / "out")
    assert f"run {waiting.run} has no weights yet" in ask("fetch", waiting.run, tmp_path / "out")
    assert f"run {failed.run} failed: no client joined in time" in ask("watch", failed.run)


@pytest.mark.rabbitmq
async def test_a_run_that_is_cancelled_ends_and_tells_its_clients(broker_url: str) -> None:
    ant = Puppet("ant")
    ant.withhold(1)
    async with Parties(broker_url) as parties:
        submission = await parties.submit(make_spec(clients=1), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await parties.until_record(submission, lambda record: type(record).__name__ == "RoundOpened")
        asked = cancellation(submission.run, "enough", sender="tester", now=0.0, user=parties.owner.user)

        await parties.owner.publish(asked.message, routing_key=asked.queue)
        end = await parties.until_record(submission, lambda record: isinstance(record, RunEnded))
        await parties.until_closed(submission)
        second = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.puppet(Puppet("bee"), second.run)
        after = await parties.outcome(second)

    assert isinstance(end, RunEnded)
    assert (end.status.value, end.reason) == ("cancelled", "enough")
    assert after.status.value == "finished"
