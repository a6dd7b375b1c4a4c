"""Tables that commands measure, print, and put into a text."""

import sys
from collections.abc import Iterable
from pathlib import Path


def show(lines: Iterable[str], *, name: str, credit: str, into: Path | None) -> None:
    """Print each line of a table in Markdown as soon as it is known, and at the end whose data it is of.

    With `into` the table also goes to that file, between its markers of this name. Ends the program with a word where
    there are none, before anything is measured.
    """
    if into is not None and not _has_markers(name, into):
        sys.exit(f"error: {into}: no lines <!-- {name} --> and <!-- /{name} --> for the table to go between")
    table = []
    for line in lines:
        print(line, flush=True)  # noqa: T201  # the command's output
        table.append(line)
    print(f"\nData: {credit}.")  # noqa: T201  # likewise
    if into is not None:
        into.write_text(placed(name, "\n".join(table), into.read_text("utf-8")), "utf-8")


def placed(name: str, table: str, text: str) -> str:
    """The text with the table between the markers of this name."""
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    return f"{before}{begin}{table}\n{end}{after}"


def _has_markers(name: str, into: Path) -> bool:
    if not into.is_file():
        return False
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    return end in into.read_text("utf-8").partition(begin)[2]
