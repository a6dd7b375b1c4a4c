"""Which round's weights were the best."""

import math
from collections.abc import Sequence


def best_round(losses: Sequence[tuple[int, float]]) -> int | None:
    """The round of the lowest loss, the latest of several; NaN is never the best, and None the best of nothing."""
    known = [(loss, -round_) for round_, loss in losses if not math.isnan(loss)]
    return -min(known)[1] if known else None
