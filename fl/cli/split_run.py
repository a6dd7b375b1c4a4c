"""A run on the shares of a split that `fluffle quickrun` can start at once: a linear model, as a beginning."""

import json
from typing import Any, Final

import numpy as np

from fl.cli.split_report import Report
from fl.cli.split_source import Source, toml_table
from fl.core.data_info import Label
from fl.core.dataset.checks import classes
from fl.core.vector import Array

RUN: Final = """\
# A run on these shares, all on this machine: `fluffle quickrun run.toml`. A linear model, to begin with.
name = {name}
metrics = [{metric}]

[model]
kind = "sklearn-sgd"
config = {config}

[optim]
client_opt = {lrate:.2g}  # about 1 over the mean squared length of a sample

[run]
rounds = 20
register = {clients}
training = {{ batch_size = 16, n_epoch = 1, shuffle = true, drop_remainder = false }}
"""
CLIENT: Final = """
[[clients]]
name = {name}
state = {state}
"""


def site_options(source: Source, report: Report, part: str, *, path: str = "") -> dict[str, Any]:
    """The table of a part in a site's TOML; `path` comes before its files."""
    options = source.options(part, path=path)
    if part == "train" and report.labels is not None and report.labels.are_classes:
        options["expose_classes"] = True
    return options


def run_toml(source: Source, report: Report) -> str | None:
    """The file's text; None where there is no target, or features are not all numbers and of one axis."""
    length = None if report.labels is None else _squared_length(source)
    if report.labels is None or source.target is None or length is None:
        return None
    if report.labels.are_classes:
        metric = _metric(classes(source.target, source=source.name))
        config = {"kind": "classifier", "loss": "log_loss"}
    else:
        metric, config = '"r2"', {"kind": "regressor"}
    text = RUN.format(
        name=json.dumps(_plain(source.name)),
        metric=metric,
        config=toml_table(config),
        lrate=1 / (1 + length),
        clients=len(report.shares),
    )
    return text + "".join(_client(source, report, number) for number in range(len(report.shares)))


def _metric(known: tuple[Label, ...]) -> str:
    if len(known) == 2:
        return toml_table({"name": "binary-classif", "config.label": known[1]})
    return toml_table({"name": "multi-classif", "config.labels": known})


def _client(source: Source, report: Report, number: int) -> str:
    share = report.shares[number]
    lines = [CLIENT.format(name=json.dumps(share.client), state=json.dumps(f"{share.client}/state"))]
    for part, index in (("train", share.train), ("valid", share.valid)):
        if len(index):
            lines.append(f"{part} = {toml_table(site_options(source, report, part, path=f'{share.client}/'))}\n")
    return "".join(lines)


def _squared_length(source: Source) -> float | None:
    """The mean of ‖x‖² over samples x."""
    x: Any = source.rows
    if source.suffix == ".csv":
        try:
            x = x.drop(columns=source.column).to_numpy(np.float64)
        except ValueError:
            return None
    if x.ndim != 2 or x.shape[1] == 0:
        return None
    squares: Array = x.data if hasattr(x, "tocsr") else x
    total = float(np.square(squares, dtype=np.float64).sum()) / x.shape[0]
    return total if np.isfinite(total) else None


def _plain(name: str) -> str:
    """A name that a run may have."""
    return "".join(mark if mark.isascii() and mark.isalnum() else "-" for mark in name).strip("-")[:64] or "split"
