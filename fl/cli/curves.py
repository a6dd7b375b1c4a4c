"""A picture of a run's curves: the loss of all and of each client, and a metric, over the rounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fl.core.files import replacing
from fl.errors import ConfigError
from fl.submit.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS_OF: Final = "loss of "
"""How a history names the loss of one client."""
INK: Final = "#1f2933"
FEDERATED: Final = "#0b6e99"
CLIENTS: Final = ("#e3a857", "#7aa874", "#b56576", "#8e7cc3", "#6c8ebf", "#a0785a", "#5fa8a0", "#c08497")
CROWD: Final = "#cbd2d9"
REFERENCES: Final = ("#c0392b", "#6b7280", "#9a6b00")


def draw_curves(
    history: History,
    path: Path,
    *,
    title: str,
    metric: str = "accuracy",
    references: Mapping[str, float] | None = None,
) -> None:
    """Write a PNG of `curves`. Raises `ConfigError` where matplotlib is missing, or nothing was ever evaluated."""
    figure = curves(history, title=title, metric=metric, references=references or {})
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def curves(history: History, *, title: str, metric: str, references: Mapping[str, float]) -> "Figure":
    """The losses, and `metric` where the history has it, beside horizontal `references`. Raises `ConfigError`."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # only who wants pictures; pyplot would open a display
    except ModuleNotFoundError:
        raise ConfigError("drawing curves needs matplotlib: install fluffle[dashboard]") from None
    rows = [row for row in history.table() if "loss" in row]
    if not rows:
        raise ConfigError("no round of this run was evaluated, so there are no curves to draw")
    has_metric = metric in rows[-1]
    figure = Figure(figsize=(12 if has_metric else 6, 4.4), layout="constrained")
    panels = figure.subplots(1, 1 + has_metric, squeeze=False)[0]
    _draw_losses(panels[0], rows)
    if has_metric:
        _draw_metric(panels[1], rows, metric, references)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", color=INK)
    return figure


def _draw_losses(axes: "Axes", rows: Sequence[Mapping[str, float]]) -> None:
    clients = sorted({key for row in rows for key in row if key.startswith(LOSS_OF)})
    for number, key in enumerate(clients):
        if len(clients) <= len(CLIENTS):
            colour, name = CLIENTS[number], key.removeprefix(LOSS_OF)
        else:  # too many to tell apart
            colour, name = CROWD, "" if number else f"each of {len(clients)} clients"
        _line(axes, rows, key, color=colour, linewidth=1.2, label=name)
    _line(axes, rows, "loss", color=FEDERATED, linewidth=2.4, label="all clients")
    _dress(axes, "loss", legend_columns=3)


def _draw_metric(
    axes: "Axes", rows: Sequence[Mapping[str, float]], metric: str, references: Mapping[str, float]
) -> None:
    _line(axes, rows, metric, color=FEDERATED, linewidth=2.4, label="federated")
    for number, (name, value) in enumerate(references.items()):
        axes.axhline(value, color=REFERENCES[number % len(REFERENCES)], linewidth=1.4, linestyle="--", label=name)
    _dress(axes, metric, legend_columns=2)
    axes.margins(y=0.08)


def _line(axes: "Axes", rows: Sequence[Mapping[str, float]], key: str, **style: Any) -> None:
    known = [(row["round"], row[key]) for row in rows if key in row]
    # a line needs two points to be seen
    marker = "o" if len(known) == 1 else ""
    axes.plot([round_ for round_, _ in known], [value for _, value in known], marker=marker, **style)


def _dress(axes: "Axes", what: str, *, legend_columns: int) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  # likewise

    axes.set_title(f"{what} after each round", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("round", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(colors=INK, length=3)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    # below the axes, where it hides no line
    axes.legend(
        frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncols=legend_columns
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa5b1")
