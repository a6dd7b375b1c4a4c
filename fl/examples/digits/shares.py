"""The digits of scikit-learn, dealt to sites: 8 by 8 images, each site with its own mixture of labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from sklearn.datasets import load_digits

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.core.dataset.split import dirichlet, iid
from fl.core.vector import Array

N_LABELS: Final = 10
CREDIT: Final = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, as scikit-learn ships it"

Form = Literal["row", "channels first", "channels last"]
"""How a model takes an image: as 64 numbers, as (1, 8, 8) or as (8, 8, 1)."""

_SHAPES: Final[dict[Form, tuple[int, ...]]] = {"row": (64,), "channels first": (1, 8, 8), "channels last": (8, 8, 1)}


@dataclass(frozen=True, slots=True)
class Digits:
    """Images from 0 to 1, of shape (n, 64) and float32, and labels from 0 to 9."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Array) -> "Digits":
        return Digits(self.x[index], self.y[index])

    def images(self, form: Form) -> Array:
        return self.x.reshape(-1, *_SHAPES[form])

    def dataset(self, form: Form) -> InMemoryDataset:
        return InMemoryDataset(self.images(form), self.y, expose_classes=True)


@dataclass(frozen=True, slots=True)
class Shares:
    """What each site trains on and watches, and what nobody sees until the end."""

    train: Mapping[str, Digits]
    valid: Mapping[str, Digits]
    test: Digits

    def of(self, site: str, form: Form) -> Data:
        return Data(self.train[site].dataset(form), self.valid[site].dataset(form))

    def of_all(self, form: Form) -> Data:
        """What one would have who had everything in one place."""
        return Data(union(self.train).dataset(form), union(self.valid).dataset(form))


def deal(*, sites: int = 5, alpha: float = 0.3, seed: int = 0) -> Shares:
    """Three fifths to train on, by Dirichlet mixtures of labels (Hsu et al. 2019); a fifth each to watch and to test.

    What is watched is dealt at random, so that what the sites measure together is the same for every `alpha`.
    """
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    digits = Digits((images / 16).astype(np.float32), labels.astype(np.int64))[rng.permutation(len(labels))]
    train, valid, test = np.split(np.arange(len(digits)), [3 * len(digits) // 5, 4 * len(digits) // 5])
    names = [f"site-{number}" for number in range(1, sites + 1)]
    own = dirichlet(digits.y[train], sites, alpha=alpha, rng=rng)
    watched = iid(len(valid), sites, rng=rng)
    return Shares(
        {name: digits[train[share]] for name, share in zip(names, own, strict=True)},
        {name: digits[valid[share]] for name, share in zip(names, watched, strict=True)},
        digits[test],
    )


def union(digits: Mapping[str, Digits]) -> Digits:
    return Digits(
        np.concatenate([own.x for own in digits.values()]), np.concatenate([own.y for own in digits.values()])
    )
