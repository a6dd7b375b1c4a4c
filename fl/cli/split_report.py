"""Who got what: as a table, as JSON, and in one figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fl.cli.split_labels import Labels
from fl.core.dataset.split import heterogeneity, label_counts
from fl.core.vector import Array

WIDTH: Final = 80
"""Of a terminal; labels have a column each where that is enough."""


@dataclass(frozen=True, slots=True)
class Share:
    """One client's samples, as places in the source; each is in one of the parts."""

    client: str
    train: Array
    valid: Array

    @property
    def all(self) -> Array:
        return np.concatenate([self.train, self.valid])


@dataclass(frozen=True, slots=True)
class Report:
    """A split that was made. `how` says it in words, `counts` is of shape (clients, labels)."""

    source: str
    how: str
    seed: int
    shares: tuple[Share, ...]
    labels: Labels | None

    @property
    def counts(self) -> Array:
        assert self.labels is not None, "only where there are labels"
        return label_counts(self.labels.codes, [share.all for share in self.shares])

    @property
    def heterogeneity(self) -> float:
        return heterogeneity(self.counts)

    def to_json(self) -> dict[str, Any]:
        """Counts by client and label, with what led to them."""
        clients: dict[str, dict[str, Any]] = {
            share.client: {"train": len(share.train), "valid": len(share.valid)} for share in self.shares
        }
        report = {"source": self.source, "split": self.how, "seed": self.seed, "clients": clients}
        if self.labels is not None:
            for client, row in zip(clients.values(), self.counts.tolist(), strict=True):
                client["labels"] = dict(zip(self.labels.names, row, strict=True))
            report["heterogeneity"] = round(self.heterogeneity, 6)
        return report

    def renderable(self) -> RenderableType:
        """The table, under what was split and above what it comes to."""
        total = sum(len(share.all) for share in self.shares)
        head = f"{self.source}: {total} samples for {len(self.shares)} clients, {self.how}, seed {self.seed}\n"
        if self.labels is None:
            return Group(Text(head), self._table([]))
        figure = (
            f"\nHeterogeneity {self.heterogeneity:.2f}: the part of all samples that would have to change hands for "
            "everybody to have the same mixture of labels."
        )
        return Group(Text(head), self._table(self.labels.names), Text(figure))

    def text(self) -> str:
        """The same for a file, wide enough for its table."""
        console = Console(width=2 * WIDTH, color_system=None, markup=False, highlight=False)
        with console.capture() as capture:
            console.print(self.renderable())
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"

    def _table(self, names: Sequence[str]) -> Table:
        table = Table("client", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        counts = self.counts if names else np.zeros((len(self.shares), 0), np.int64)
        widest = len(str(counts.max(initial=0)))
        fits = sum(2 + max(len(name), widest) for name in names) <= WIDTH - 26
        for header in ("train", "valid", *(names if fits else ["labels", "most of"])):
            table.add_column(header, justify="right")
        for share, row in zip(self.shares, counts, strict=True):
            cells = _cells(row) if fits else _summary(row, names)
            table.add_row(share.client, str(len(share.train)), str(len(share.valid)), *cells)
        return table


def _cells(row: Array) -> list[str]:
    return [str(count) if count else "·" for count in row]


def _summary(row: Array, names: Sequence[str]) -> list[str]:
    return [str(np.count_nonzero(row)), f"{names[int(row.argmax())]} ({row.max()})"]
