"""The progress of a run: live in a terminal, and a line for each round elsewhere."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from fl.cli.frame import frame, lines
from fl.cli.terminal import terminal
from fl.cli.view import View
from fl.run.spec import RunSpec
from fl.submit.history import Happened


class Progress:
    """Shows a run while it is entered, fed with what happens in it.

    What is shown last stays on the screen. `clock` gives seconds since the epoch.
    """

    def __init__(
        self, run: str, spec: RunSpec, *, console: Console | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._console = console or terminal()
        self._clock = clock
        self._view = View.before(run, spec)
        self._live = Live(console=self._console, get_renderable=self._frame) if self._console.is_terminal else None

    def on_event(self, happened: Happened) -> None:
        """Take in what happened next."""
        before, self._view = self._view, self._view.after(happened)
        if self._live is None:
            for line in lines(before, happened.record, self._view):
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _frame(self) -> RenderableType:
        # called from a thread of its own; the view that it finds is whole, because views never change
        return frame(self._view, now=self._clock())
