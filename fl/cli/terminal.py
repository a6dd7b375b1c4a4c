"""The terminal of commands that show rather than log."""

import logging

from rich.console import Console


def terminal(*, stderr: bool = False) -> Console:
    """A console that shows text as it is: brackets in names, paths and errors are no markup."""
    return Console(stderr=stderr, markup=False, highlight=False)


def silence_logs() -> None:
    """Keep events off a terminal on which the progress of their run is shown already."""
    logging.getLogger("fl").addHandler(logging.NullHandler())
