"""A run's log as it was recorded, in a file that people can read: each record, and the digest of the state after it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from google.protobuf.json_format import MessageToDict, ParseDict

from broker.base import Message
from fl.run.apply import apply
from fl.run.events import Record
from fl.run.replay import counts
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.server.leader import empty
from fl.wire.records import read_record
from fl.wire.records_pb2 import LogRecord
from fl.wire.runs import Submitted
from fl.wire.tensors import open_parcel, parcel
from fl.wire.tensors_pb2 import Tensors
from tests.histories.durable import digest_after

FOLDER: Final = Path(__file__).parent
SECRET: Final = bytes(range(32))
"""Of all runs that were recorded: a log does not tell it, and it is deleted with the run."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One record of a log, whether it counts, and the state after it."""

    leader: str
    record: Record
    counts: bool
    state: RunState


@dataclass(frozen=True, slots=True)
class History:
    """What was submitted, and all that stood in the log when the run was over, void records too."""

    about: str
    submitted: Submitted
    entries: tuple[LogRecord, ...]
    digests: tuple[str, ...]
    """After each entry; a void one leaves the digest as it was."""

    @property
    def empty(self) -> RunState:
        """The run before its first record."""
        return replace(empty(self.submitted), secret=SECRET)

    def replay(self) -> Iterator[Moment]:
        """What a leader makes of the log, record by record."""
        state = self.empty
        for entry in self.entries:
            _, record = read_record(Message(entry.SerializeToString()))
            valid = counts(state, entry.leader, record)
            state = apply(state, record) if valid else state
            yield Moment(entry.leader, record, valid, state)

    def moments(self) -> list[Moment]:
        """Those of the records that count."""
        return [moment for moment in self.replay() if moment.counts]

    def digested(self) -> tuple[str, ...]:
        """What this release makes of the log."""
        digest, digests = "", []
        for moment in self.replay():
            digest = digest_after(digest, moment.state) if moment.counts else digest
            digests.append(digest)
        return tuple(digests)

    @classmethod
    def load(cls, path: Path) -> Self:
        told = json.loads(path.read_text("utf-8"))
        entries = tuple(ParseDict(item["record"], LogRecord()) for item in told["log"])
        digests = tuple(item["state"] for item in told["log"])
        return cls(told["about"], _read_submitted(told["submitted"]), entries, digests)

    def to_json(self) -> str:
        log = [
            {"state": digest, "record": MessageToDict(entry, preserving_proto_field_name=True)}
            for entry, digest in zip(self.entries, self.digests, strict=True)
        ]
        told = {"about": self.about, "submitted": _write_submitted(self.submitted), "log": log}
        return json.dumps(told, indent=1) + "\n"


def file_of(scene: str, version: int) -> Path:
    """The file of a scene that was recorded by the rules of this `LOGIC_VERSION`."""
    return FOLDER / f"{scene}.v{version}.json"


def _write_submitted(submitted: Submitted) -> dict[str, Any]:
    parcels = {"weights": submitted.weights, "fixed": submitted.fixed}
    tensors = {
        part: MessageToDict(open_parcel(known), preserving_proto_field_name=True)
        for part, known in parcels.items()
        if known is not None
    }
    return {"run": submitted.run, "spec": json.loads(submitted.spec.to_json()), **tensors}


def _read_submitted(told: dict[str, Any]) -> Submitted:
    spec = RunSpec.from_json(json.dumps(told["spec"]))
    weights, fixed = (
        parcel(ParseDict(told[part], Tensors())) if part in told else None for part in ("weights", "fixed")
    )
    return Submitted(told["run"], spec, weights, fixed)
