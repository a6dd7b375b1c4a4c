"""What must hold after each run of a soak, whatever has happened to it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from broker import topology
from fl.run.events import Record, RoundCommitted, RunEnded
from fl.wire.tensors import blob_ref, open_parcel
from tests.faults.campaign import Told
from tests.faults.inventory import STREAM
from tests.faults.stage import CLIENTS


def weights_stream(records: Sequence[Record]) -> str | None:
    """Where the final weights of a run lie; None for those that are in its log."""
    (end,) = [one for one in records if isinstance(one, RunEnded)]
    ref = None if end.weights is None else blob_ref(open_parcel(end.weights))
    return None if ref is None else ref.stream


def leavings(run: str, records: Sequence[Record]) -> dict[str, int]:
    """All that may lie on a broker on which this is the only run: what all runs share, its log, and its weights."""
    left = {topology.RUNS.name: STREAM, topology.DEAD_QUEUE.name: 0, topology.run_log(run): STREAM}
    left |= {topology.client_queue(client): 0 for client in CLIENTS}
    stream = weights_stream(records)
    return left if stream is None else {**left, stream: STREAM}


def differences(told: Told, calm: Told, records: Sequence[Record]) -> Iterator[str]:
    """What is not as in the undisturbed run, a line each."""
    commits = [one for one in records if isinstance(one, RoundCommitted)]
    rounds = Counter((one.round, one.kind.value) for one in commits)
    yield from (f"round {round_} ({kind}) was committed {n} times" for (round_, kind), n in rounds.items() if n > 1)
    for commit in commits:
        clients = Counter(one.client for one in commit.participants)
        yield from (f"{client} counts {n} times in round {commit.round}" for client, n in clients.items() if n > 1)
    if len(told.commits) != len(calm.commits):
        yield f"{len(told.commits)} commits instead of {len(calm.commits)}"
    for is_, should_be in zip(told.commits, calm.commits, strict=False):
        if is_ != should_be:
            yield f"the first commit that differs is\n{is_}\ninstead of\n{should_be}"
            break
    if told.weights != calm.weights:
        yield "the final weights have other bits"


def surplus(left: Mapping[str, int], expected: Mapping[str, int]) -> Iterator[str]:
    """What lies on the broker and should not, or should and does not."""
    for name in sorted(left.keys() | expected.keys()):
        if left.get(name) != expected.get(name):
            yield f"{name}: {_in_words(left.get(name))} instead of {_in_words(expected.get(name))}"


def _in_words(n: int | None) -> str:
    return {None: "nothing", STREAM: "a stream"}.get(n, f"a queue of {n} messages")
