"""Fingerprints: of what is in a dataset, and of nothing else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
import torch
from torch.utils.data import Dataset as Items
from torch.utils.data import TensorDataset

from fl.core.dataset import Dataset, InMemoryDataset
from fl.core.dataset.fingerprint import BLOCK
from fl.core.dataset.tensorflow_dataset import TensorflowDataset
from fl.core.dataset.torch_dataset import TorchDataset
from fl.errors import DataError

N = BLOCK + 88


def values() -> Any:
    return np.random.default_rng(1).normal(size=(N, 3))


class Pairs(Items[Any]):
    """Items that are a dict of inputs and a label."""

    def __init__(self, x: Any) -> None:
        self.x = torch.from_numpy(x)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> Any:
        return {"a": self.x[place], "b": self.x[place].bfloat16()}, place % 2


class Jittered(Pairs):
    def __getitem__(self, place: int) -> Any:
        return self.x[place] + torch.rand(1)


class Strange(Pairs):
    """Items that are no tensors."""

    def __getitem__(self, place: int) -> Any:
        return {"name": object()}


KINDS: dict[str, Callable[[Any], Dataset]] = {
    "arrays": lambda x: InMemoryDataset(x, np.arange(N) % 3, np.ones(N)),
    "text": lambda x: InMemoryDataset(x, np.where(x[:, 0] > 0, "yes", "no")),
    "sparse": lambda x: InMemoryDataset(scipy.sparse.csr_matrix(np.where(x > 0, x, 0.0)), np.ones(N)),
    "tensors": lambda x: TorchDataset(TensorDataset(torch.from_numpy(x), torch.ones(N))),
    "items": lambda x: TorchDataset(Pairs(x)),
    "tf.data": lambda x: TensorflowDataset(tf.data.Dataset.from_tensor_slices(({"a": x, "b": -x}, tf.ones(N)))),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[[Any], Dataset]:
    return KINDS[request.param]


def test_the_same_content_has_the_same_fingerprint(make: Callable[[Any], Dataset]) -> None:
    assert make(values()).fingerprint() == make(values()).fingerprint()


@pytest.mark.parametrize("place", [0, N - 1])
def test_one_other_value_makes_another_fingerprint(make: Callable[[Any], Dataset], place: int) -> None:
    changed = values()
    changed[place, 0] = 7.0

    assert make(changed).fingerprint() != make(values()).fingerprint()


def test_targets_and_weights_are_part_of_it() -> None:
    x, ones = values(), np.ones(N)
    made = [InMemoryDataset(x), InMemoryDataset(x, ones), InMemoryDataset(x, None, ones), InMemoryDataset(x, 2 * ones)]

    assert len({data.fingerprint() for data in made}) == 4


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values())
    script = (
        "import sys; from fl.core.dataset import InMemoryDataset; print(InMemoryDataset(sys.argv[1]).fingerprint())"
    )

    printed = subprocess.run([sys.executable, "-c", script, tmp_path / "x.npy"], capture_output=True, check=True)

    assert printed.stdout.decode().strip() == InMemoryDataset(values()).fingerprint()


def test_it_is_computed_once() -> None:
    class Counting(InMemoryDataset, register=False):
        taken = 0

        def take(self, index: Any) -> Any:
            self.taken += 1
            return super().take(index)

    data = Counting(values())
    data.fingerprint()
    taken = data.taken

    assert data.fingerprint()
    assert data.taken == taken > 0


def test_items_that_are_others_each_time_are_refused() -> None:
    with pytest.raises(DataError, match=r"others each time they are taken.*transforms that draw at random"):
        TorchDataset(Jittered(values())).fingerprint()


def test_objects_without_bytes_to_compare_are_refused() -> None:
    with pytest.raises(DataError, match="samples hold object objects"):
        TorchDataset(Strange(values()), lambda items: np.array([item["name"] for item in items])).fingerprint()
