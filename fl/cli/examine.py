"""What the broker tells of its runs."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping

from broker import topology
from broker.base import QueueCount
from broker.blocking import BlockingBroker
from broker.dead import dead_letters
from broker.errors import AccessRefused, NotFound
from fl.cli.diagnosis import Facts, Finding
from fl.cli.view import View
from fl.errors import BadMessage, ConfigError
from fl.submit.dead import about
from fl.submit.history import past
from fl.submit.register import Entry, entries


def register(broker: BlockingBroker) -> dict[str, Entry]:
    """All runs that were ever submitted here, oldest first."""
    try:
        return entries(broker.read(topology.RUNS.name))
    except NotFound:
        return {}  # nobody has ever submitted anything here


def watched(broker: BlockingBroker, entry: Entry) -> View:
    """A run so far, as a person wants to see it. Raises `ConfigError` where its log is gone, and `BadMessage`."""
    return deque(_views(broker, entry), maxlen=1).pop()


def pruned(entry: Entry) -> ConfigError:
    """What to say of a run without a log."""
    return ConfigError(f"run {entry.run} has no log on this broker: was it pruned?")


def dead_by_run(broker: BlockingBroker) -> Counter[str]:
    """How many dead letters each run has; those of no run count for ""."""
    with dead_letters(broker) as letters:
        return Counter(about(each.letter).run for each in letters)


def examine(broker: BlockingBroker, entry: Entry, *, dead: Mapping[str, int]) -> Facts:
    """All that can be known of a run without asking its parties."""
    view, trouble = View.before(entry.run, entry.spec), None
    try:
        for view in _views(broker, entry):  # noqa: B007  # the last one that could be read stays
            pass
    except ConfigError as error:
        trouble = Finding(str(error), "submit the run again, if it is still wanted")
    except AccessRefused as error:
        trouble = Finding(f"its log may not be read: {error}", "ask whoever runs the broker for the permission")
    except BadMessage as error:
        trouble = Finding(
            f"what is said here may be wrong: {error}", "look at it with the release of fluffle that its workers have"
        )
    state = view.state
    named = {*state.awaiting, *state.out, *(note.client for note in state.lacking)}
    clients = {client: _count(broker, topology.client_queue(client)) for client in sorted(named)}
    queue = _count(broker, topology.run_queue(entry.run))
    return Facts(entry, view, queue, clients, dead=dead.get(entry.run, 0), trouble=trouble)


def _views(broker: BlockingBroker, entry: Entry) -> Iterator[View]:
    view = View.before(entry.run, entry.spec)
    yield view
    try:
        for happened in past(entry.run, entry.spec, broker.read(topology.run_log(entry.run))):
            view = view.after(happened)
            yield view
    except NotFound:
        raise pruned(entry) from None


def _count(broker: BlockingBroker, queue: str) -> QueueCount | None:
    try:
        return broker.count(queue)
    except NotFound:
        return None
