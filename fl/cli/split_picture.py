"""A picture of who got what: one bar a client, stacked by label."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fl.cli.curves import INK
from fl.cli.split_report import Report
from fl.core.files import replacing
from fl.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HUES: Final = (
    "#0b6e99", "#e3a857", "#7aa874", "#b56576", "#8e7cc3", "#a0785a", "#5fc0b7", "#d98cb3", "#9aa5b1", "#c9c15a"
)  # fmt: skip
"""As many labels as can be told apart; more are shaded along a scale."""
MOST_NAMED: Final = 30
"""Labels in the legend, and clients whose bars have room for edges."""


def draw_shares(report: Report, path: Path) -> None:
    """Write a PNG of `shares_figure`. Raises `ConfigError` where matplotlib is missing."""
    figure = shares_figure(report)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def shares_figure(report: Report) -> "Figure":
    """A horizontal bar for each client, the first on top. Raises `ConfigError` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # only who wants pictures; pyplot would open a display
    except ModuleNotFoundError:
        raise ConfigError("drawing who got what needs matplotlib: install fluffle[dashboard]") from None
    n_clients = len(report.shares)
    figure = Figure(figsize=(9, min(1.9 + 0.36 * n_clients, 10)), layout="constrained")
    axes = figure.subplots()
    _stack(axes, report)
    axes.set_yticks(range(n_clients), [share.client for share in report.shares], fontsize=min(10, 400 / n_clients))
    axes.invert_yaxis()
    axes.set_xlabel("samples", color=INK)
    axes.margins(y=0.01)
    _dress(axes)
    subtitle = report.how if report.labels is None else f"{report.how}; heterogeneity {report.heterogeneity:.2f}"
    figure.suptitle(f"Who got what of {report.source}", x=0.01, ha="left", fontweight="bold", color=INK)
    axes.set_title(subtitle, loc="left", fontsize=10, color=INK)
    return figure


def _stack(axes: "Axes", report: Report) -> None:
    places = np.arange(len(report.shares))
    if report.labels is None:
        axes.barh(places, [len(share.all) for share in report.shares], height=0.78, color=HUES[0])
        return
    names, left = report.labels.names, np.zeros(len(places))
    edge = 0.6 if len(places) <= MOST_NAMED else 0.0  # thin bars would be edges only
    for name, colour, widths in zip(names, _colours(report), report.counts.T, strict=True):
        axes.barh(places, widths, left=left, height=0.78, color=colour, label=name, edgecolor="white", linewidth=edge)
        left += widths
    if len(names) <= MOST_NAMED:
        axes.legend(
            frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.02),
            title="target" if not report.labels.are_classes else "label", ncols=1 + (len(names) - 1) // 15,
        )  # fmt: skip


def _colours(report: Report) -> list[Any]:
    """Apart for a few classes; along a scale for values, which have an order, and for many classes."""
    assert report.labels is not None, "colours are of labels"
    n_labels = len(report.labels.names)
    if report.labels.are_classes and n_labels <= len(HUES):
        return list(HUES[:n_labels])
    from matplotlib import colormaps  # noqa: PLC0415  # likewise

    scale = colormaps["viridis" if not report.labels.are_classes else "turbo"]
    return [scale(place) for place in np.linspace(0.05, 0.95, n_labels)]


def _dress(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  # likewise

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#9aa5b1")
