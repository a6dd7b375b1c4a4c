"""No room for what must survive a site: its request goes back, and the run goes on when there is room again."""

import resource
from pathlib import Path

import pytest

from fl.run.events import Kind, RoundCommitted, RoundOpened, Status
from fl.run.spec import RunSpec
from tests.integration.parties import Parties
from tests.integration.processes import fluffle
from tests.integration.site_files import data_in, file_of, site_in
from tests.integration.world import Puppet, make_spec, of_kind, run_here, until

N_FEATURES = 30_000
"""A quarter of a megabyte of state after each round, and weights that need no shared memory, which is a file too."""

FULL_BYTES = 200_000
"""The most that a file may hold while the disk counts as full: enough for a log, and for a seed."""


def spec_with_state(rounds: int = 3, clients: int = 1) -> RunSpec:
    plain = make_spec(rounds=rounds, clients=clients, evaluate=False)
    optim = {"client_opt": {"lrate": 1e-6, "modules": [["momentum", {"beta": 0.9}]]}}
    return RunSpec.parse({**plain.model_dump(by_alias=True), "optim": optim}, "test")


def let_files_grow_to(pid: int, n_bytes: int) -> None:
    """For a process and those that it starts from now on."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (n_bytes, hard))


@pytest.mark.rabbitmq
async def test_a_round_whose_state_finds_no_room_is_handed_back_and_changes_no_bit(
    rabbit_url: str, memory_url: str, tmp_path: Path
) -> None:
    # Given what an undisturbed run comes to, whose optimizer keeps state
    spec = spec_with_state()
    undisturbed, _ = await run_here(memory_url, spec, {"ant": data_in(tmp_path, "ant", n_features=N_FEATURES)})

    file = file_of(tmp_path, "ant", n_features=N_FEATURES)
    async with Parties(rabbit_url) as parties:
        parties.worker()
        with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="ant") as ant:
            await ant.until_logged(" ready ")
            # When the disk is full as the first round ends, and has room again later
            let_files_grow_to(ant.pid, FULL_BYTES)
            submission = await parties.submit(spec)
            await ant.until_logged(" awaiting_room ")
            let_files_grow_to(ant.pid, resource.RLIM_INFINITY)
            outcome = await parties.outcome(submission)
            await ant.until_logged(" weights_kept ")
            commits = [
                one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN
            ]

    # Then the log says which file and why, no round was lost, and no bit is different
    (given_up,) = [line for line in ant.log.splitlines() if " session_given_up " in line]
    assert f"runs/{submission.run}/after-000001.safetensors cannot be written: " in given_up
    assert "File too large" in given_up
    assert "make room there" in given_up
    assert outcome.status is Status.FINISHED
    assert [(len(one.participants), one.dropped) for one in commits] == [(1, ())] * 3
    assert outcome.weights == undisturbed.weights


OUT = "this site takes no part in the run until it is back as it was"


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("pattern", ["seed", "after-*"])
async def test_a_site_whose_state_is_damaged_says_which_file_and_takes_no_part_in_that_run(
    memory_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    async with Parties(memory_url) as parties:
        # Given two sites that have trained
        submission = await parties.submit(spec_with_state(rounds=4, clients=2))
        parties.worker()
        parties.daemon(await site_in(tmp_path, "ant"))
        bee = Puppet("bee")
        bee.withhold(3)
        parties.puppet(bee, submission.run)
        await parties.until_record(submission, lambda record: isinstance(record, RoundOpened) and record.round == 3)

        # When a file of one is damaged while its daemon is down
        await parties.stop("ant")
        for damaged in (tmp_path / "ant" / "state" / "runs" / submission.run).glob(pattern):
            flip_a_bit(damaged)
        parties.daemon(await site_in(tmp_path, "ant"))
        await until(lambda: OUT in caplog.text)
        bee.let_go(3)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then it says so, and the run goes on without it
    assert outcome.status is Status.FINISHED
    commits = of_kind(records, RoundCommitted)
    assert [[part.client for part in commit.participants] for commit in commits] == [["ant", "bee"]] * 2 + [["bee"]] * 2
    reasons = [note.reason for note in commits[2].dropped]
    assert len(reasons) == 1
    assert str(tmp_path / "ant" / "state" / "runs" / submission.run) in reasons[0]
    assert OUT in reasons[0]
