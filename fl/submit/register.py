"""All runs of a broker, as their announcements tell."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from broker.base import Message
from broker.topology import MARKER
from fl.core.registry import nearest
from fl.errors import BadMessage, ConfigError
from fl.run.spec import RunSpec
from fl.wire.runs import Closed, Submitted, read_announcement


@dataclass(frozen=True, slots=True)
class Entry:
    """A run; `closed` once it is over."""

    submitted: Submitted
    closed: Closed | None = None

    @property
    def run(self) -> str:
        return self.submitted.run

    @property
    def spec(self) -> RunSpec:
        return self.submitted.spec


def entries(messages: Iterable[Message]) -> dict[str, Entry]:
    """Runs by name, oldest first; announcements that make no sense here are left out."""
    found: dict[str, Entry] = {}
    for message in messages:
        if message.type == MARKER:
            continue
        try:
            announcement = read_announcement(message)
        except BadMessage:
            continue
        if isinstance(announcement, Submitted):
            found.setdefault(announcement.run, Entry(announcement))
        elif announcement.run in found:
            found[announcement.run] = replace(found[announcement.run], closed=announcement)
    return found


def pick(name: str, found: dict[str, Entry]) -> Entry:
    """The run of that name, or the only one whose name begins so. Raises `ConfigError` naming the nearest."""
    if name in found:
        return found[name]
    beginning = [run for run in found if run.startswith(name)]
    if len(beginning) == 1:
        return found[beginning[0]]
    if beginning:
        raise ConfigError(f"run {name!r} could be {', '.join(beginning)}: give more of its name")
    raise ConfigError(f"no run {name!r} on this broker; {nearest(name, found)}")
