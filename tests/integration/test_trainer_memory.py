"""Bulk between a daemon and its trainer: the same bits as inside a message, and nothing is left of the memory."""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fl.client.config import DeviceConfig
from fl.client.desk import Desk
from fl.client.setup import new_setup, site_from_data
from fl.client.site import Site
from fl.core.vector import NumpyVector
from fl.run.events import Status
from fl.run.spec import RunSpec, compression_of
from fl.wire.messages_pb2 import Error, EvaluateReply, EvaluateRequest, InitRequest, TrainReply, TrainRequest
from fl.wire.tensors import inline, read_inline, specs
from fl.wire.tensors_pb2 import Tensors
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall
from tests.integration.parties import Parties
from tests.integration.processes import alive
from tests.integration.site_files import config_of, data_in, site_in
from tests.integration.trainer_parts import (
    BULK,
    RUN,
    Asker,
    asked,
    memories,
    site_with_process,
    weights_of,
)
from tests.integration.world import make_spec, run_here, until
from tests.scarcity import no_file_above

SCAFFOLD = {
    "client_opt": {"lrate": 0.0001, "modules": ["scaffold-client"]},
    "server_opt": {"lrate": 1.0, "modules": ["scaffold-server"]},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trainers look for a fault; no memory of theirs is left when a test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield tmp_path
    assert memories() == []


async def site_with_thread(folder: Path) -> Site:
    return await site_from_data("ant", data_in(folder, "ant", n_features=BULK))


Make = Callable[[Path], Awaitable[Site]]
SITES: dict[str, Make] = {"process": site_with_process, "thread": site_with_thread}


@pytest.fixture(params=SITES)
async def asker(request: pytest.FixtureRequest, memory_url: str, tmp_path: Path) -> AsyncIterator[Asker]:
    make = SITES[request.param]
    async with asked(memory_url, await make(tmp_path)) as made:
        yield made


@pytest.fixture
async def process(memory_url: str, tmp_path: Path) -> AsyncIterator[Asker]:
    async with asked(memory_url, await site_with_process(tmp_path)) as made:
        yield made


class Alone:
    """A desk to which everything comes inside messages, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self._desk = Desk(data_in(folder, "ant", n_features=BULK))
        setup = new_setup("ant", None, None, device=DeviceConfig(gpu=False), share_metrics=True)
        info = self._answer(TrainerCall(setup=setup)).data_info
        layout = specs(weights_of(BULK).layout)
        self._answer(TrainerCall(init=InitRequest(spec_json=make_spec().to_json(), data_info=info, layout=layout)))

    def update(self, weights: NumpyVector) -> NumpyVector:
        request = TrainRequest(round=1, weights=inline(weights))
        return read_inline(self._answer(TrainerCall(run=RUN, train=request)).train.update)

    def evaluation(self, weights: NumpyVector) -> EvaluateReply:
        return self._answer(TrainerCall(evaluate=EvaluateRequest(round=1, weights=inline(weights)))).evaluate

    def _answer(self, call: TrainerCall) -> TrainerAnswer:
        answer = self._desk.answer(call)
        assert answer.WhichOneof("answer") != "error", answer
        return answer


async def test_an_update_has_the_same_bits_as_one_that_goes_inside_messages(asker: Asker, place: Path) -> None:
    # Given
    weights = weights_of(BULK)
    expected = Alone(place).update(weights)
    # When
    reply = await asker.train(await asker.keep(weights))
    # Then it has them, and the name that they have
    assert await asker.update(reply) == expected
    assert isinstance(reply, TrainReply)
    assert reply.update.digest == hashlib.sha256(expected.pack()).digest()
    assert reply.weights_digest == hashlib.sha256(weights.pack()).digest()


async def test_compressed_weights_lead_to_the_same_bits_as_what_they_stand_for(memory_url: str, place: Path) -> None:
    # Given
    spec, weights = make_spec(compression="int8"), weights_of(BULK, 0.1)
    codec = compression_of(spec)
    received = codec.decode(weights.layout, codec.encode(weights))
    expected = codec.encode(Alone(place).update(received))

    # When
    async with asked(memory_url, await site_with_process(place), spec=spec) as asker:
        first = await asker.train(await asker.keep(weights, compression=codec))
        again = await asker.train(await asker.keep(weights, "again", compression=codec))

    # Then a round that is done again has them in memory that was used before
    assert isinstance(first, TrainReply)
    assert isinstance(again, TrainReply)
    assert first.update.digest == again.update.digest == hashlib.sha256(expected).digest()


async def test_weights_are_evaluated_as_if_they_had_come_inside_a_message(asker: Asker, place: Path) -> None:
    # Given
    weights = weights_of(BULK)
    expected = Alone(place).evaluation(weights)
    # When
    reply = await asker.evaluate(await asker.keep(weights))
    # Then
    assert isinstance(reply, EvaluateReply)
    assert (reply.loss_sum, reply.metrics) == (expected.loss_sum, expected.metrics)


async def test_a_round_after_the_other_uses_the_same_memory_and_disturbs_no_earlier_answer(asker: Asker) -> None:
    # Given an update that has been sent
    first = await asker.keep(weights_of(BULK, 0.5), "w1")
    sent = await asker.train(first)
    update = await asker.update(sent)
    # When other weights take its place in memory, twice
    other = await asker.keep(weights_of(BULK, -3.0), "w2")
    await asker.evaluate(other)
    # Then the same request has the same answer, which refers to the same bytes
    assert await asker.train(first) == sent
    assert await asker.update(sent) == update
    assert await asker.update(await asker.train(other, round_=2)) != update


async def test_weights_that_are_not_what_was_announced_reach_no_trainer(asker: Asker) -> None:
    # Given
    weights = await asker.keep(weights_of(BULK))
    lie = Tensors()
    lie.CopyFrom(weights)
    lie.digest = lie.ref.sha256 = bytes(32)
    # When
    refused = await asker.train(lie)
    # Then the leader is told, and right ones are as welcome as before
    assert isinstance(refused, Error)
    assert "SHA-256" in refused.text
    assert isinstance(await asker.train(weights), TrainReply)


async def test_a_site_without_memory_says_so_and_goes_on_when_there_is_some(process: Asker) -> None:
    # Given
    weights = await process.keep(weights_of(BULK))
    # When
    with no_file_above(4096):
        refused = await process.train(weights)
    # Then
    assert isinstance(refused, Error)
    assert "this site has no memory for 1 MiB of tensors: the system gives no more" in refused.text
    assert isinstance(await process.train(weights), TrainReply)


async def test_memory_of_a_trainer_that_is_killed_in_mid_call_is_given_back(process: Asker, place: Path) -> None:
    # Given
    weights = await process.keep(weights_of(BULK))
    assert memories()
    (place / "fault").write_text("be_killed")
    # When
    refused = await process.train(weights)
    # Then
    assert isinstance(refused, Error)
    assert "was ended by SIGKILL" in refused.text
    assert memories() == []


async def test_two_trainers_of_a_site_have_two_memories(memory_url: str, place: Path) -> None:
    # Given
    site = await site_with_process(place)
    async with asked(f"{memory_url}-1", site) as one, asked(f"{memory_url}-2", site) as two:
        weights = [await asker.keep(weights_of(BULK, value)) for asker, value in ((one, 0.5), (two, -0.5))]
        # When both train at once
        replies = await asyncio.gather(one.train(weights[0]), two.train(weights[1]))
        updates = [await asker.update(reply) for asker, reply in zip((one, two), replies, strict=True)]
    # Then each has trained from its own weights
    alone = Alone(place)
    assert updates == [alone.update(weights_of(BULK, 0.5)), alone.update(weights_of(BULK, -0.5))]


async def test_a_daemon_that_is_killed_in_mid_call_leaves_no_trainer_and_no_memory(place: Path) -> None:
    # Given a daemon whose trainer does not end by itself
    config_of(place, "ant", n_features=BULK)
    (place / "fault").write_text("hang")
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.integration.mortal_asker", str(place))
    try:
        await until(lambda: daemon.returncode is not None or not (place / "fault").exists())
        (trainer,) = psutil.Process(daemon.pid).children()
        assert memories(daemon.pid)
        assert memories(trainer.pid)
        # When
        daemon.kill()
        # Then the trainer ends, and the memory, which has no name, with it
        await until(lambda: not alive(trainer.pid))
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.wait()


async def test_what_optimizers_tell_each_other_goes_the_same_way(memory_url: str, place: Path) -> None:
    """SCAFFOLD's variates are as large as the model, and its optimizer keeps what it is told."""
    # Given what a run comes to that has its trainers in threads
    plain = make_spec(rounds=3, clients=2, training={"batch_size": 8})
    spec = RunSpec.parse({**plain.model_dump(by_alias=True), "optim": SCAFFOLD}, "test")
    datasets = {name: data_in(place, name, n_features=BULK) for name in ("ant", "bee")}
    inside, _ = await run_here(memory_url, spec, datasets)
    # When it has them in processes
    async with Parties(f"{memory_url}-2") as parties:
        submission = await parties.submit(spec)
        parties.worker()
        for name in datasets:
            parties.daemon(await site_in(place, name, n_features=BULK))
        outcome = await parties.outcome(submission)
    # Then
    assert outcome.status is Status.FINISHED
    assert outcome.weights == inside.weights
