"""How declarations look in AMQP, and where everything is."""

import pytest

from broker import topology
from broker.amqp import Arguments, arguments, plain_headers, push_of
from broker.base import Binding, Exchange, Queue, Stream
from broker.errors import (
    AccessRefused,
    BrokerError,
    ConnectionLost,
    Fatal,
    NotFound,
    Retryable,
    TooLarge,
    TopologyConflict,
)
from broker.patterns import matches
from broker.refusals import refusal
from broker.topology import Key

QUORUM = {"x-queue-type": "quorum"}
STREAM = {"x-queue-type": "stream"}
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Queue("q", single_active=False), QUORUM),
        (Queue("q"), QUORUM | {"x-single-active-consumer": True}),
        (Queue("q", single_active=False, dead_letter="dead"), QUORUM | {"x-dead-letter-exchange": "dead"}),
        (Queue("q", single_active=False, delivery_limit=0), QUORUM | {"x-delivery-limit": 0}),
        (Stream("s"), STREAM),
        (
            Stream("s", max_bytes=400 * MIB),
            STREAM | {"x-max-length-bytes": 400 * MIB, "x-stream-max-segment-size-bytes": 100 * MIB},
        ),
        (Stream("s", max_bytes=MIB), STREAM | {"x-max-length-bytes": MIB, "x-stream-max-segment-size-bytes": MIB}),
        (
            Stream("s", max_bytes=10**10),
            STREAM | {"x-max-length-bytes": 10**10, "x-stream-max-segment-size-bytes": 500_000_000},
        ),
    ],
)
def test_arguments_of_a_declaration(item: Queue | Stream, expected: Arguments) -> None:
    assert arguments(item) == expected


def test_only_queues_need_a_push_to_the_disk() -> None:
    assert push_of([Stream("s"), Exchange("e"), Binding("s", "e")]) is None


def test_a_push_has_a_new_name_each_time_that_begins_with_a_queues() -> None:
    one, other = [push_of([Stream("s"), Queue("q")]) for _ in range(2)]

    assert (one != other, str(one).startswith("q.push-")) == (True, True)


def test_headers_that_are_no_text_or_integer_are_left_out() -> None:
    assert plain_headers({"a": 1, "b": "x", "x-death": [{"count": 1}], "c": 1.5, "d": None}) == {"a": 1, "b": "x"}


def test_no_headers_are_no_headers() -> None:
    assert plain_headers(None) == {}


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (403, "ACCESS_REFUSED - access to queue 'q'", AccessRefused),
        (404, "NOT_FOUND - no queue 'q'", NotFound),
        (404, "NOT_FOUND - home node 'n' of durable queue 'q' in vhost '/' is down or inaccessible", Retryable),
        (404, "NOT_FOUND - failed to perform operation on queue 'q' in vhost '/' due to timeout", Retryable),
        (406, "PRECONDITION_FAILED - queue 'q' does not have a replica on the local node", Retryable),
        (405, "RESOURCE_LOCKED - cannot obtain exclusive access", TopologyConflict),
        (406, "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q'", TopologyConflict),
        (406, "PRECONDITION_FAILED - message size 3 is larger than configured max size 2", TooLarge),
        (406, "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'b'", AccessRefused),
        (406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out", ConnectionLost),
        (311, "CONTENT_TOO_LARGE", Fatal),
    ],
)
def test_a_refusal_is_told_by_code_and_text(code: int, text: str, kind: type[BrokerError]) -> None:
    error = refusal(code, text)

    assert (type(error), text in str(error)) == (kind, True)


def bound_keys(items: tuple[object, ...], queue: str) -> list[str]:
    return [item.key for item in items if isinstance(item, Binding) and item.queue == queue]


def test_everything_is_declared_before_it_is_bound() -> None:
    declared: set[str] = set()
    for item in (*topology.base(), *topology.client("alice"), *topology.run("r1", shards=2)):
        if isinstance(item, Binding):
            assert {item.queue, item.exchange} <= declared
        else:
            declared.add(item.name)


def test_requests_to_a_client_reach_its_queue_and_no_other() -> None:
    key = str(Key(run="r1", client="alice", what="train"))

    reached = [
        name for name in ("alice", "bob") if matches(bound_keys(topology.client(name), f"fl.client.{name}")[0], key)
    ]

    assert reached == ["alice"]


def test_replies_of_a_run_reach_its_queue_and_no_other() -> None:
    key = str(Key(run="r1", client="alice", what="train"))

    bound = {run: bound_keys(topology.run(run), topology.run_queue(run)) for run in ("r1", "r2")}

    assert [run for run, keys in bound.items() if any(matches(bound_key, key) for bound_key in keys)] == ["r1"]


def test_bulk_of_a_client_goes_to_its_stream_and_not_to_the_runs_queue() -> None:
    room = topology.Room("r1", 3, "alice", "leader")

    to_stream = bound_keys(room.declaration(max_bytes=1), room.stream)
    to_queue = bound_keys(topology.run("r1"), topology.run_queue("r1"))

    assert ([matches(k, room.key) for k in to_stream], [matches(k, room.key) for k in to_queue]) == ([True], [False])


def test_a_reply_with_a_route_reaches_that_shard_and_nobody_else() -> None:
    run, key = topology.run("r1", shards=3), str(Key("r1", "alice", "train_reply", "1"))

    queues = topology.queues_of("r1", 3)
    reached = [queue for queue in queues if any(matches(pattern, key) for pattern in bound_keys(run, queue))]

    assert reached == [topology.shard_queue("r1", 1)]


def test_a_run_without_shards_has_one_queue() -> None:
    assert topology.queues_of("r1", 1) == (topology.run_queue("r1"),)
    assert topology.run("r1") == topology.run("r1", shards=1)


def test_bulk_of_a_client_goes_to_no_shard() -> None:
    room = topology.Room("r1", 3, "alice", "1")

    patterns = [item.key for item in topology.run("r1", shards=4) if isinstance(item, Binding)]

    assert not any(matches(pattern, room.key) for pattern in patterns)


def test_rooms_of_two_leaders_for_the_same_bulk_have_nothing_in_common() -> None:
    one, other = (topology.Room("r1", 3, "alice", leader) for leader in ("one", "other"))

    assert not matches(bound_keys(one.declaration(max_bytes=1), one.stream)[0], other.key)
    assert one.stream != other.stream


def test_the_word_after_the_run_is_who_sent_it() -> None:
    assert Key.parse(topology.Room("r1", 3, "alice", "leader").key).client == "alice"


def test_a_key_is_what_it_is_parsed_from() -> None:
    assert str(Key.parse("r1.alice.train")) == "r1.alice.train"
    assert str(Key.parse("r1.alice.train.2")) == "r1.alice.train.2"


@pytest.mark.parametrize("text", ["", "r1", "r1.alice"])
def test_a_key_of_fewer_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"<run>\.<client>\.<what>"):
        Key.parse(text)


@pytest.mark.parametrize("name", ["a", "A-1_b", "9" * 64])
def test_a_name_that_is_one_word_of_a_key_is_fine(name: str) -> None:
    assert topology.check_name(name, "client") == name


@pytest.mark.parametrize("name", ["", "a.b", "*", "#", "-a", "a" * 65, "ä", "a b", "a\n"])
def test_a_name_that_is_no_word_of_a_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="client"):
        topology.check_name(name, "client")


def test_dead_letters_have_a_queue() -> None:
    assert Exchange("fl.dead", "fanout") in topology.base()
    assert bound_keys(topology.base(), "fl.dead") == ["#"]
