"""`fluffle split`: one dataset becomes those of several clients, each in a folder that its daemon can start from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.cli.split_labels import Labels, labels_of
from fl.cli.split_picture import draw_shares
from fl.cli.split_report import Report, Share
from fl.cli.split_run import run_toml, site_options
from fl.cli.split_source import Source, load_source, toml_table
from fl.cli.terminal import terminal
from fl.core.dataset import split
from fl.core.registry import nearest
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

REPORT: Final = "report.json"
RUN: Final = "run.toml"
CLIENT: Final = """\
# The daemon of {name}: `fluffle client client.toml`, with the broker's URL in FLUFFLE_BROKER.
name = "{name}"
state = "state"
"""
SCHEMES: Final = ("iid", "label", "dirichlet", "size")
OPTIONS: Final[Mapping[str, tuple[str, float]]] = {
    "label": ("labels_per_client", 2), "dirichlet": ("alpha", 0.5), "size": ("sigma", 1.0)
}  # fmt: skip
"""What a scheme may be told, and its default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to split. None is the scheme's own default. Raises `ConfigError` where it does not make sense."""

    clients: int = 5
    by: str = "iid"
    alpha: float | None = None
    labels_per_client: int | None = None
    sigma: float | None = None
    valid: float = 0.2
    """The part of each share to evaluate on; 0 for none."""
    bins: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in SCHEMES:
            raise ConfigError(f"--by {self.by}: {nearest(self.by, SCHEMES)}")
        for scheme, (option, _) in OPTIONS.items():
            if getattr(self, option) is not None and self.by != scheme:
                raise ConfigError(f"--{option.replace('_', '-')} says how to split by {scheme}: add --by {scheme}")
        if not 0 <= self.valid < 1:
            raise ConfigError(f"--valid {self.valid}: use a part from 0, for none, to below 1")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: use a number of at least 0")

    @property
    def options(self) -> dict[str, Any]:
        """What its scheme is told."""
        if self.by not in OPTIONS:
            return {}
        name, default = OPTIONS[self.by]
        given = getattr(self, name)
        return {name: default if given is None else given}

    @property
    def how(self) -> str:
        """In words."""
        options = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in self.options.items())
        return f"by {self.by}, {options}" if options else "at random"


def run_split(data: str, out: Path, *, target: str | None, plan: Plan, force: bool) -> None:
    """Split `data`, write the shares to `out`, and print who got what. Raises `ConfigError`, `DataError`."""
    source = load_source(data, target)
    labels = None if source.target is None else labels_of(source.target, plan.bins)
    report = Report(source.name, plan.how, plan.seed, make_shares(len(source), labels, plan), labels)
    try:
        _make_room(out, force=force)
        files = _write(source, report, out)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror or error}; choose another folder") from None
    console = terminal()
    console.print(report.renderable())
    console.print()
    try:
        draw_shares(report, out / "who-got-what.png")
        files.append(out / "who-got-what.png")
    except ConfigError as error:
        console.print(f"no picture: {error}")
    _write_json({**report.to_json(), "files": [str(path.relative_to(out)) for path in files]}, out / REPORT)
    console.print(f"wrote {len(files) + 1} files to {out}", soft_wrap=True)
    if out / RUN in files:
        console.print(f"Train on them here: fluffle quickrun {out / RUN}", soft_wrap=True)


def make_shares(n_samples: int, labels: Labels | None, plan: Plan) -> tuple[Share, ...]:
    """Every sample in one part of one share. Raises `ConfigError`, `DataError`."""
    rng = np.random.default_rng(plan.seed)
    least = 2 if plan.valid else 1
    if n_samples < least * plan.clients:
        raise DataError(f"{n_samples} samples are too few for {plan.clients} clients with at least {least} each")
    width = len(str(plan.clients))
    return tuple(
        Share(f"client-{number:0{width}}", *_hold_out(share, labels, plan.valid))
        for number, share in enumerate(_cut(n_samples, labels, plan, least=least, rng=rng), start=1)
    )


def _cut(n_samples: int, labels: Labels | None, plan: Plan, *, least: int, rng: np.random.Generator) -> split.Shares:
    if plan.by == "iid":
        return split.iid(n_samples, plan.clients, rng=rng)
    if plan.by == "size":
        return split.by_size(n_samples, plan.clients, min_samples=least, rng=rng, **plan.options)
    if labels is None:
        raise ConfigError(f"--by {plan.by} needs labels: say with --target what is to be predicted")
    if plan.by == "dirichlet":
        return split.dirichlet(labels.codes, plan.clients, rng=rng, **plan.options)
    return split.by_label(labels.codes, plan.clients, min_samples=least, rng=rng, **plan.options)


def _hold_out(share: Array, labels: Labels | None, part: float) -> tuple[Array, Array]:
    """What to train on, and the part to evaluate on; of each label one stays in training, so that it is known."""
    codes = np.zeros(len(share), np.int64) if labels is None else labels.codes[share]
    kept = np.unique(codes, return_index=True)[1]
    free = np.setdiff1d(np.arange(len(share)), kept)
    held = free[: max(round(part * len(share)), 1)] if part else free[:0]
    return np.delete(share, held), share[held]


def _make_room(out: Path, *, force: bool) -> None:
    """Leave no file of an earlier split behind, and touch no other. Raises `ConfigError`."""
    if out.is_file():
        raise ConfigError(f"{out} is a file: name a folder to write the shares to")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not force:
        raise ConfigError(f"{out} is not empty: choose another folder, or --force to replace the split in it")
    try:
        earlier = json.loads((out / REPORT).read_text("utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    for name in earlier:
        path = (out / str(name)).resolve()
        if path.is_relative_to(out.resolve()):  # whatever the report says
            path.unlink(missing_ok=True)


def _write(source: Source, report: Report, out: Path) -> list[Path]:
    files = []
    for share in report.shares:
        folder = out / share.client
        folder.mkdir(parents=True, exist_ok=True)
        tables = []
        for part, index in (("train", share.train), ("valid", share.valid)):
            if len(index):
                files += source.write(folder, part, index)
                tables.append(f"{part} = {toml_table(site_options(source, report, part))}\n")
        (folder / "client.toml").write_text(CLIENT.format(name=share.client) + "".join(tables), "utf-8")
        files.append(folder / "client.toml")
    texts = {"report.txt": report.text(), RUN: run_toml(source, report)}
    for name, text in texts.items():
        if text is not None:
            (out / name).write_text(text, "utf-8")
            files.append(out / name)
    return files


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
