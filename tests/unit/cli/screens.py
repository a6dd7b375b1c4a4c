"""What a person sees of a run that a test tells."""

import io

from rich.console import Console

from fl.cli.frame import frame
from fl.cli.progress import Progress
from fl.cli.view import View
from fl.run.events import Record
from fl.run.spec import RunSpec
from tests.unit.cli.happenings import happen, spec


def view_after(records: list[Record], *, of: RunSpec | None = None, every_s: float = 1.0) -> View:
    view = View.before("heart-1", of or spec())
    for happened in happen(records, of=of, every_s=every_s):
        view = view.after(happened)
    return view


def screen(
    records: list[Record], *, of: RunSpec | None = None, now: float = 1000.0, width: int = 100, encoding: str = "utf-8"
) -> str:
    """What is shown, as plain text."""
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=output, width=width, color_system=None)
    with console.capture() as capture:
        console.print(frame(view_after(records, of=of), now=now))
    return capture.get()


def log_of(records: list[Record], *, of: RunSpec | None = None) -> list[str]:
    """What is written where there is no terminal."""
    console = Console(file=io.StringIO(), width=60)
    with Progress("heart-1", of or spec(), console=console) as progress:
        for happened in happen(records, of=of):
            progress.on_event(happened)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()
