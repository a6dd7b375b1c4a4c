"""What both libraries made of private trials, as a table in Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Final

from tests.bench.privacy_trial import Learned, Trial

NAME: Final = "privacy-peer"
"""Of its markers."""
OURS: Final = "Fluffle"
PEER: Final = "declearn 2.9.1"

Outcomes = dict[tuple[str, Trial], Learned]
"""By library and trial."""


def table(outcomes: Outcomes) -> str:
    """Accuracies are means over seeds; the best of each line is bold."""
    trials = [trial for _, trial in outcomes if not trial.dark]
    rates = sorted({trial.lrate for trial in trials})
    columns = ["five sites alike", "epsilon accounted", "noise on the mean gradient", *(f"rate {r:g}" for r in rates)]
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for private in sorted({trial.private for trial in trials}):
        for library in (OURS, PEER):
            cells = [_accuracy(outcomes, library, private, rate) for rate in rates]
            best = max(range(len(cells)), key=cells.__getitem__)
            shown = [f"**{cell}**" if place == best else cell for place, cell in enumerate(cells)]
            name = library if private else f"{library}, without privacy"
            lines.append(f"| {' | '.join([name, *_privacy(outcomes, library, private), *shown])} |")
    return "\n".join(lines)


def line_of(library: str, trial: Trial, learned: Learned) -> str:
    """One trial, as it is told while others go on."""
    what = "noise alone" if trial.dark else f"rate {trial.lrate:g}, seed {trial.seed}, right {learned.accuracy:.3f}"
    private = "without privacy" if learned.epsilon is None else f"epsilon {learned.epsilon:.3f}"
    noise = f", standard deviation {learned.update_std:.4g} in each of {learned.steps} steps" if trial.dark else ""
    return f"{library}: {private}, {what}{noise} ({learned.seconds:.1f} s)"


def to_json(outcomes: Outcomes) -> list[dict[str, object]]:
    return [{"library": library, **asdict(trial), **asdict(learned)} for (library, trial), learned in outcomes.items()]


def _accuracy(outcomes: Outcomes, library: str, private: bool, rate: float) -> str:
    chosen = _of(outcomes, library, private, dark=False)
    return f"{fmean(learned.accuracy for trial, learned in chosen if trial.lrate == rate):.3f}"


def _privacy(outcomes: Outcomes, library: str, private: bool) -> Sequence[str]:
    if not private:
        return "-", "-"
    accounted = max(learned.epsilon or 0.0 for _, learned in _of(outcomes, library, private, dark=False))
    noise = fmean(learned.update_std for _, learned in _of(outcomes, library, private, dark=True))
    return f"{accounted:.2f}", f"{noise:.3g}"


def _of(outcomes: Outcomes, library: str, private: bool, *, dark: bool) -> Iterator[tuple[Trial, Learned]]:
    for (one, trial), learned in outcomes.items():
        if one == library and trial.private == private and trial.dark == dark:
            yield trial, learned
