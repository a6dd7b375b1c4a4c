"""`python -m tests.histories.record [SCENE...]`: play scenes on the embedded broker, and keep the log of each.

A history says what the log of a released version means, so none is ever written over. There are two occasions:

* `LOGIC_VERSION` went up, since the same log shall lead to other decisions: every scene is recorded by the new rules.
  The files of older versions stay, for runs that older workers began, whose logs must mean what they meant.
* There is a new scene, such as that of a new kind of record.

A history that no longer replays to its digest, or decides otherwise, is never a reason to record it anew by itself.
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.json_format import MessageToDict, ParseDict

from broker import topology
from broker.base import Message
from broker.topology import MARKER
from fl.run.step import LOGIC_VERSION
from fl.wire.records import Repeats, read_record
from fl.wire.records_pb2 import LogRecord
from tests.histories.history import History, file_of
from tests.histories.players import Stage
from tests.histories.scenes import SCENES
from tests.integration.parties import Parties


async def recorded(scene: str) -> History:
    """Play a scene, and read what it left in its log."""
    play = SCENES[scene]
    async with Parties(f"memory://{uuid.uuid4().hex}") as parties:
        stage = Stage(parties, scene)
        await play(stage)
        await stage.over()
        entries = await _entries(parties, scene)
        submitted = stage.submission.announced()
    assert play.__doc__, "a scene says what happens in it"
    history = History(play.__doc__, submitted, tuple(_legible(entries)), digests=())
    return replace(history, digests=history.digested())


async def _entries(parties: Parties, run: str) -> list[LogRecord]:
    """Everything in a log up to a marker of our own."""
    stream, marker, found, repeats = topology.run_log(run), uuid.uuid4().hex, list[LogRecord](), Repeats()
    await parties.owner.publish(Message(b"", type=MARKER, message_id=marker), routing_key=stream)
    async with await parties.owner.read(stream) as messages:
        async for delivery in messages:
            await delivery.ack()
            if delivery.message.message_id == marker:
                break
            if delivery.message.type != MARKER and not repeats.has(entry := read_record(delivery.message)[0]):
                found.append(entry)
    return found


def _legible(entries: list[LogRecord]) -> Iterable[LogRecord]:
    """The entries without the time of day, with durations in tenths of a second, and with leaders by number."""
    leaders = {
        leader: f"leader-{number}" for number, leader in enumerate(dict.fromkeys(one.leader for one in entries), 1)
    }
    for entry in entries:
        entry.at = 0.0
        if entry.WhichOneof("record") == "still_waiting":
            entry.still_waiting.waited_s = round(entry.still_waiting.waited_s, 1)
        if entry.WhichOneof("record") == "round_committed":
            for one in entry.round_committed.participants:
                one.seconds = round(one.seconds, 1)
        text = json.dumps(MessageToDict(entry))
        for leader, number in leaders.items():
            text = text.replace(leader, number)  # also where a stream is named after it
        yield ParseDict(json.loads(text), LogRecord())


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what is missing of the histories of this LOGIC_VERSION.")
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help="without any: all")
    wanted = parser.parse_args().scenes
    if unknown := set(wanted) - SCENES.keys():
        parser.error(f"there is no scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    for scene in wanted or SCENES:
        path = file_of(scene, LOGIC_VERSION)
        if path.exists():
            sys.stdout.write(f"{path.name} is there, and stays as it is\n")
            continue
        path.write_text(asyncio.run(recorded(scene)).to_json(), "utf-8")
        sys.stdout.write(f"{path.name} recorded\n")


if __name__ == "__main__":
    main()
