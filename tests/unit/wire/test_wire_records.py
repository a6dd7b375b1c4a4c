"""The log's records: what was decided comes back as it was, and nothing else is taken for a record."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.base import Message
from fl.core.data_info import DataInfo
from fl.errors import BadMessage
from fl.run.events import (
    ClientResult,
    ClientsAdmitted,
    Kind,
    LeaderStarted,
    MetricValue,
    Parcel,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    Status,
)
from fl.wire.envelope import PROTOCOL
from fl.wire.messages_pb2 import Classes
from fl.wire.messages_pb2 import DataInfo as DataInfoMessage
from fl.wire.records import Repeats, read_record, write_record
from fl.wire.records_pb2 import AdmittedClient, ClientsReady, LogRecord
from fl.wire.records_pb2 import ClientsAdmitted as ClientsAdmittedMessage
from fl.wire.records_pb2 import RoundOpened as RoundOpenedMessage
from fl.wire.records_pb2 import RunEnded as RunEndedMessage
from fl.wire.tensors import inline, parcel
from tests.unit.run.strategies import decisions, starts, texts, u64
from tests.unit.wire.tensors_of import a_vector, wire_tensors

records = decisions(wire_tensors.map(parcel))


@given(records, texts, u64, st.floats(allow_nan=False))
def test_a_record_comes_back_as_it_was(record: Record, leader: str, number: int, at: float) -> None:
    # When
    entry, received = read_record(write_record(leader, record, number=number, now=at))
    # Then
    assert received == record
    assert (entry.leader, entry.number, entry.at, entry.protocol) == (leader, number, at, PROTOCOL)


@given(starts)
def test_the_start_of_a_leader_comes_back_as_it_was(started: LeaderStarted) -> None:
    # When
    entry, received = read_record(write_record(started.leader, started, number=0, now=0))
    # Then
    assert received == started
    assert entry.leader == started.leader


@given(records | starts)
def test_the_same_record_is_the_same_bytes(record: Record) -> None:
    # When
    first, second = (write_record("leader-1", record, number=1, now=0) for _ in range(2))
    # Then
    assert first.body == second.body


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(RoundOpened(1, Kind.TRAIN, (), None), id="no participants and no deadline"),
        pytest.param(RoundCommitted(1, Kind.EVALUATE, ()), id="an evaluation without a loss"),
        pytest.param(RoundCommitted(1, Kind.EVALUATE, (), loss=0.0), id="a loss of zero"),
        pytest.param(RoundCommitted(1, Kind.TRAIN, (ClientResult("a", loss=0.0),)), id="a client's loss of zero"),
        pytest.param(RoundCommitted(1, Kind.TRAIN, (ClientResult("a", update_norm=0.0),)), id="an update of zero"),
        pytest.param(RoundCommitted(1, Kind.EVALUATE, (), metrics=(MetricValue("f", ()),)), id="an empty metric"),
        pytest.param(RunEnded(Status.FAILED, ""), id="an end without weights"),
        pytest.param(ClientsAdmitted((("a", DataInfo(0)),)), id="data that tell nothing"),
    ],
)
def test_what_is_not_there_is_not_there_afterwards(record: Record) -> None:
    # When
    _, received = read_record(write_record("leader-1", record, number=0, now=0))
    # Then
    assert received == record


def test_a_loss_that_is_no_number_stays_one() -> None:
    # Given
    record = RoundCommitted(1, Kind.EVALUATE, (), loss=math.nan)
    # When
    _, received = read_record(write_record("leader-1", record, number=0, now=0))
    # Then
    assert isinstance(received, RoundCommitted)
    assert received.loss is not None
    assert math.isnan(received.loss)


def test_a_message_is_named_by_its_record() -> None:
    # When
    message = write_record("leader-1", RunEnded(Status.FINISHED, "done"), number=0, now=0)
    # Then
    assert message.type == "run_ended"


# ---- what is no record ----------------------------------------------------------------------------------------------


def entry(**fields: object) -> LogRecord:
    return LogRecord(**{"protocol": PROTOCOL, "leader": "leader-1", **fields})  # type: ignore[arg-type]  # any field


MIXED = DataInfoMessage(classes=Classes(ints=[1], strings=["fox"]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"\xff", "", id="noise"),
        pytest.param(b"", "it is of protocol 0", id="nothing"),
        pytest.param(entry().SerializeToString(), "it is empty, or of a kind that this release", id="no record"),
        pytest.param(
            entry(protocol=2, clients_ready=ClientsReady()).SerializeToString(),
            f"it is of protocol 2, and this release speaks protocol {PROTOCOL}",
            id="another protocol",
        ),
        pytest.param(
            entry(round_opened=RoundOpenedMessage(round=1)).SerializeToString(),
            "a round of kind 0",
            id="no kind of round",
        ),
        pytest.param(
            entry(run_ended=RunEndedMessage(status="exploded")).SerializeToString(), "'exploded'", id="no status"
        ),
        pytest.param(
            entry(
                clients_admitted=ClientsAdmittedMessage(clients=[AdmittedClient(client="a", data_info=MIXED)])
            ).SerializeToString(),
            "mix numbers and text",
            id="impossible data",
        ),
    ],
)
def test_what_is_no_record_is_refused_in_words(body: bytes, reason: str) -> None:
    # Then
    with pytest.raises(BadMessage, match=f"a record of type 'x' in the run's log cannot be read: .*{reason}"):
        # When
        read_record(Message(body, type="x"))


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_are_a_record(body: bytes) -> None:
    # When
    try:
        _, record = read_record(Message(body))
    except BadMessage:
        return
    # Then
    assert isinstance(record, Record)


def test_weights_that_are_none_cannot_be_written() -> None:
    # Given
    record = RunInitialised(DataInfo(1), Parcel(b"digest", b"\xff"))
    # Then
    with pytest.raises(BadMessage, match="does not hold tensors"):
        # When
        write_record("leader-1", record, number=0, now=0)


def test_what_is_no_record_cannot_be_written() -> None:
    # Then
    with pytest.raises(TypeError, match="not a record: 'hello'"):
        # When
        write_record("leader-1", "hello", number=0, now=0)  # type: ignore[arg-type]  # what a caller without types could do


# ---- repeats --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["leader-1", "leader-2"]), st.integers(0, 3)), max_size=8))
def test_whatever_is_stored_again_counts_once(again: list[tuple[str, int]]) -> None:
    # Given
    stored: list[tuple[str, int]] = []
    for leader, count in again:
        mine = [entry for entry in stored if entry[0] == leader]
        stored += [(leader, len(set(mine)) + more) for more in range(count)]
        stored += mine[-count:]
    # When
    repeats = Repeats()
    kept = [one for one in stored if not repeats.has(LogRecord(leader=one[0], number=one[1]))]
    # Then
    assert kept == list(dict.fromkeys(stored))


def test_inline_weights_are_in_the_record_itself() -> None:
    # Given
    weights = inline(a_vector())
    # When
    message = write_record("leader-1", RunInitialised(DataInfo(1), parcel(weights)), number=0, now=0)
    # Then
    assert weights.inline in bytes(message.body)
