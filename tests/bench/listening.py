"""From what a contestant's server tells to figures."""

import itertools

from tests.bench.figures import Figures
from tests.bench.rows import Row
from tests.bench.stage import ContestantFailed, Stage
from tests.bench.usage import Meter


async def listen(play: Stage, row: Row, meter: Meter) -> Figures:
    """Measure what the server tells: that it is idle, the end of each round, and that it is done."""
    ends: list[float] = []
    while (event := await play.next("idle", "round", "done"))["what"] != "done":
        if event["what"] == "idle":
            meter.idle_mb += event["mb"]
            continue
        ends.append(event["at"])
        if len(ends) == 1:
            meter.start()
    return figures_of(ends, row, meter)


def figures_of(ends: list[float], row: Row, meter: Meter) -> Figures:
    """From when each round ended; the first one only says when the second began."""
    if len(ends) != row.n_rounds + 1:
        raise ContestantFailed(f"{row.n_rounds + 1} rounds were to be made, {len(ends)} were")
    used = meter.read()
    seconds = tuple(end - begin for begin, end in itertools.pairwise(ends))
    return Figures(seconds, {side: all_s / row.n_rounds for side, all_s in used.cpu_s.items()}, used.server_mb)
