"""`fluffle dead`: look at dead letters, send them again, or throw them away."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import typer
from rich.table import Table

from broker.blocking import BlockingBroker
from broker.dead import DeadLetter, LaidOut, dead_letters, revived
from broker.errors import Rejected
from fl.cli.terminal import terminal
from fl.cli.times import moment
from fl.errors import BadMessage, ConfigError, Fatal
from fl.submit.dead import About, about, beginning, content
from fl.words import plain

NUMBER_DIGITS: Final = 6
"""Digits alone are a number up to so many, and beyond them the beginning of an id."""
SHOWN_ID: Final = 8
SHOWN_TO_CONFIRM: Final = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant: one by its number or id, or all, or all of a run."""

    which: str | None = None
    everything: bool = False
    run: str | None = None

    def __post_init__(self) -> None:
        if (self.which is not None) == self.everything:
            raise ConfigError(
                "which dead letters? Give the number or id of one, as `fluffle dead list` has it, or --all"
            )
        if self.run is not None and not self.everything:
            raise ConfigError("--run goes with --all, and means all of that run")

    def among(self, letters: Iterator[LaidOut]) -> Iterator[LaidOut]:
        """Those letters. Raises `ConfigError` where the one that is meant is not there, or could be several."""
        if self.which is not None:
            yield _one(self.which, letters)
            return
        yield from (each for each in letters if self.run is None or about(each.letter).run == self.run)


def list_dead(url: str, *, run: str | None, timeout_s: float) -> None:
    """Print a line for each dead letter."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "id", "when", "message"):
        table.add_column(name, no_wrap=True)
    for name in ("run", "client", "died in", "reason"):
        table.add_column(name, overflow="fold")
    with BlockingBroker(url, timeout_s=timeout_s) as broker, dead_letters(broker) as letters:
        for laid_out in Choice(everything=True, run=run).among(letters):
            table.add_row(*map(plain, _row(laid_out)))
    terminal().print(table if table.row_count else _none(run))


def show_dead(which: str, url: str, *, timeout_s: float) -> None:
    """Print all that is known of a dead letter."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker, dead_letters(broker) as letters:
        (laid_out,) = Choice(which).among(letters)
        facts, body = _facts(laid_out), _body(laid_out.letter)
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {fact}" for name, fact in facts.items()]
    for line in [*lines, "", *body.split("\n")]:
        terminal().print(plain(line), soft_wrap=True)


def requeue_dead(choice: Choice, url: str, *, timeout_s: float) -> None:
    """Send letters to where they had come to, and say of each what became of it. Raises `Fatal` where some stay."""
    sent = stayed = 0
    with BlockingBroker(url, timeout_s=timeout_s) as broker, dead_letters(broker) as letters:
        for laid_out in choice.among(letters):
            name = _name(laid_out)
            try:
                laid_out.requeue()
            except Rejected as error:
                stayed += 1
                _say(f"{name} stays: {error}")
            else:
                sent += 1
                _say(f"{name} was sent to {laid_out.letter.queue} again")
    if stayed:
        raise Fatal(
            f"{stayed} of {sent + stayed} dead letters could not be sent again; `fluffle dead drop` removes them"
        )
    if not sent:
        _say(_none(choice.run))


def drop_dead(choice: Choice, url: str, *, sure: bool, timeout_s: float) -> None:
    """Throw letters away, having asked whether to. Those that come meanwhile stay."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker, dead_letters(broker) as letters:
        meant = {_key(laid_out): _name(laid_out) for laid_out in choice.among(letters)}
    if not meant:
        _say(_none(choice.run))
        return
    if not sure:
        _confirm(list(meant.values()))
    dropped = 0
    with BlockingBroker(url, timeout_s=timeout_s) as broker, dead_letters(broker) as letters:
        for laid_out in letters:
            if _key(laid_out) in meant:
                laid_out.drop()
                dropped += 1
    _say(f"dropped {dropped}")


def _one(which: str, letters: Iterator[LaidOut]) -> LaidOut:
    number = int(which) if which.isdecimal() and len(which) <= NUMBER_DIGITS else None
    found: list[LaidOut] = []
    for laid_out in letters:
        if laid_out.number == number or laid_out.id == which:
            return laid_out
        if number is None and laid_out.id.startswith(which) and len(found) < 2:
            found.append(laid_out)
    if len(found) > 1:
        raise ConfigError(f"several dead letters have an id that begins with {which!r}: give more of it")
    if not found:
        raise ConfigError(f"no dead letter {which!r}: `fluffle dead list` shows those there are")
    return found[0]


def _confirm(names: list[str]) -> None:
    """Raises `typer.Abort` unless the person says yes."""
    for name in names[:SHOWN_TO_CONFIRM]:
        _say(name)
    if len(names) > SHOWN_TO_CONFIRM:
        _say(f"and {len(names) - SHOWN_TO_CONFIRM} more")
    typer.confirm(f"Throw {'it' if len(names) == 1 else f'these {len(names)}'} away for good?", abort=True)


def _row(laid_out: LaidOut) -> tuple[str, ...]:
    letter, known = laid_out.letter, about(laid_out.letter)
    place = (known.what, known.run, known.client, letter.queue)
    return (str(laid_out.number), laid_out.id[:SHOWN_ID], _when(known), *place, letter.reason)


def _facts(laid_out: LaidOut) -> dict[str, str]:
    letter, known = laid_out.letter, about(laid_out.letter)
    message = letter.message
    facts = {
        "number": str(laid_out.number),
        "id": laid_out.id,
        "when": _when(known),
        "message": known.what,
        "run": known.run,
        "client": known.client,
        "reason": letter.reason,
        "died in": letter.queue,
        "came by": f"exchange {letter.exchange!r} with routing key {letter.routing_key!r}",
        "type": f"{message.type!r}, {message.content_type}, {len(message.body)} bytes",
        "headers": ", ".join(f"{name}={value!r}" for name, value in sorted(revived(letter).headers.items())),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _body(letter: DeadLetter) -> str:
    try:
        return json.dumps(content(letter), indent=2, ensure_ascii=False)
    except BadMessage as error:
        return f"its body cannot be read: {error}\n{beginning(letter.message.body)}"


def _name(laid_out: LaidOut) -> str:
    known = about(laid_out.letter)
    parties = [f"run {known.run}" if known.run else "", f"client {known.client}" if known.client else ""]
    return " ".join([f"{laid_out.number}:", known.what, *(f"of {party}" for party in parties if party)])


def _key(laid_out: LaidOut) -> str:
    letter = laid_out.letter
    return laid_out.id or hashlib.sha256(letter.routing_key.encode() + bytes(letter.message.body)).hexdigest()


def _when(known: About) -> str:
    return "" if known.at is None else moment(known.at)


def _none(run: str | None) -> str:
    return "no dead letters" if run is None else f"no dead letters of run {run}"


def _say(text: str) -> None:
    terminal().print(plain(text), soft_wrap=True)
