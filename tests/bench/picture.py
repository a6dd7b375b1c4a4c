"""The results as a picture: seconds a round on a logarithmic scale, a panel for each row."""

from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from tests.bench.results import FLOOR, OURS, Results

_OURS: Final = "#d95f02"
_FLOOR: Final = "#7570b3"
_OTHERS: Final = "#9a9a9a"


def draw(results: Results, path: Path) -> None:
    """Write an SVG, or whatever the name's ending says. Bars are medians, lines the middle half."""
    rows = [row for row in results.rows if any(results.of(row, label) for label in results.labels)]
    size = (4.0 + 2.2 * len(rows), 1.2 + 0.32 * len(results.labels))
    figure = Figure(figsize=size, layout="tight")
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)
    for row, panel in zip(rows, panels[0], strict=True):
        for place, label in enumerate(results.labels):
            figures = results.of(row, label)
            if figures is None:
                continue
            low, high = figures.spread_s
            errors = [[figures.median_s - low], [high - figures.median_s]]
            panel.barh(place, figures.median_s, xerr=errors, color=_color(label), error_kw={"lw": 0.8})
            panel.annotate(f" {figures.median_s:.2g}", (high, place), va="center", fontsize=7)
        panel.set_xscale("log")
        panel.margins(x=0.25)
        panel.set_title(row.label, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(range(len(results.labels)), results.labels, fontsize=8)
    panels[0][0].invert_yaxis()
    figure.supxlabel("seconds a round (less is better)", fontsize=8)
    figure.savefig(path)


def _color(label: str) -> str:
    if label.startswith(OURS.partition(",")[0]):
        return _OURS
    return _FLOOR if label == FLOOR else _OTHERS
