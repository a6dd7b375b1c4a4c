"""What `tests.bench.privacy_peer` trains, and what came of it; declearn's environment imports this as ours does."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from torch import nn

from fl.examples.digits.torch_net import cnn

TEST: Final = "test"
"""What nobody trains on, among the samples of a trial."""

Samples = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Features and labels."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A run over the sites whose samples are in `file`."""

    file: str
    dark: bool
    """Whether all features are 0, and with them the gradients of its network: what moves weights is noise alone."""
    private: bool
    seed: int
    lrate: float
    rounds: int
    batch_size: int
    n_epoch: int
    """Of a round."""
    sclip_norm: float
    epsilon: float
    delta: float

    def network(self) -> tuple[nn.Module, nn.Module]:
        """The module with its first weights, and its loss."""
        return (nn.Linear(64, 10, bias=False), nn.CrossEntropyLoss()) if self.dark else cnn()

    def training(self) -> dict[str, Any]:
        """How a site trains in a round, which both libraries call the same."""
        return {"batch_size": self.batch_size, "n_epoch": self.n_epoch, "poisson": True}

    def privacy(self) -> dict[str, Any] | None:
        """Likewise; None where there is none."""
        if not self.private:
            return None
        return {"budget": (self.epsilon, self.delta), "sclip_norm": self.sclip_norm, "accountant": "rdp"}


@dataclass(frozen=True, slots=True)
class Learned:
    """What one library made of a trial."""

    accuracy: float
    """Of the last weights, on samples that nobody trained on."""
    steps: int
    """That one site has made."""
    update_std: float
    """Root mean square of the elements of all steps' updates over the rate: of what was taken for the mean gradient."""
    seconds: float
    epsilon: float | None = None
    """What the library accounts to the site that has spent most; None where training was not private."""
    noise_multiplier: float | None = None
    """That it says it trained with, there."""

    @classmethod
    def of_steps(cls, squares: Sequence[float], *, lrate: float, **rest: Any) -> Self:
        """`squares` are the mean squares of the elements of updates, one for each step of a site."""
        return cls(steps=len(squares), update_std=math.sqrt(math.fsum(squares) / len(squares)) / lrate, **rest)


def write_samples(file: Path, sites: dict[str, Samples], test: Samples) -> None:
    parts = {**sites, TEST: test}.items()
    arrays: dict[str, Any] = {
        f"{name}.{axis}": one for name, pair in parts for axis, one in zip("xy", pair, strict=True)
    }
    np.savez(file, **arrays)


def read_samples(file: Path) -> tuple[dict[str, Samples], Samples]:
    """The sites' by their names, and what to test with."""
    with np.load(file) as arrays:
        parts = {key[:-2]: (arrays[key], arrays[f"{key[:-2]}.y"]) for key in arrays.files if key.endswith(".x")}
    test = parts.pop(TEST)
    return parts, test


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    (folder / "trials.json").write_text(json.dumps([asdict(trial) for trial in trials]), "utf-8")


def read_trials(folder: Path) -> Iterator[Trial]:
    yield from (Trial(**fields) for fields in json.loads((folder / "trials.json").read_text("utf-8")))
