"""The data tables of a site's TOML: kinds, options, paths, and what is said of wrong ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.client.config import ClientConfig
from fl.client.setup import describe
from fl.core.data_info import DataInfo
from fl.core.dataset import Batch, Dataset
from fl.core.vector import Array
from fl.errors import ConfigError

Write = Callable[[str], ClientConfig]


class CountingDataset(Dataset, register=False):
    """As many samples as it is told, each its own number."""

    name = "counting"

    def __init__(self, *, size: int, of: str = "sheep") -> None:
        self._size, self.of = size, of

    @property
    def n_samples(self) -> int:
        return self._size

    def get_data_specs(self) -> DataInfo:
        return DataInfo(self._size)

    def take(self, index: slice | Array) -> Batch:
        return Batch(np.arange(self._size)[index, None])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "size": self._size, "of": self.of}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Dataset.registry._classes, "counting", CountingDataset)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Reads a site's file with this table of data in it, from a folder with some data."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("a,b,c,y\n1,2,3,1\n4,5,6,0\n")
    np.save(tmp_path / "data" / "y.npy", np.array([1.5, 2.5]))
    (tmp_path / "data" / "x.svm").write_text("1 1:2\n0 2:1\n")

    def read(train: str) -> ClientConfig:
        (tmp_path / "client.toml").write_text(f'name = "lyon"\ntrain = {train}\n')
        return ClientConfig.from_file(tmp_path / "client.toml")

    return read


def refused(write: Write, train: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Dataset.load(describe(write(train).train))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["", 'kind = "in-memory", '])
def test_a_dataset_is_in_memory_unless_another_kind_is_named(write: Write, kind: str) -> None:
    config = write(f'{{ {kind}path = "data/x.csv", target = "y", expose_classes = true }}')
    assert Dataset.load(describe(config.train)).get_data_specs().classes == (0, 1)


def test_paths_are_relative_to_the_file_that_names_them(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    dataset = Dataset.load(describe(write('{ path = "data/x.csv", target = "data/y.npy", f_cols = ["a"] }').train))
    assert dataset.take(slice(None)).y.tolist() == [1.5, 2.5]


def test_a_missing_file_of_targets_is_looked_for_beside_the_file_that_names_it(write: Write, tmp_path: Path) -> None:
    description = describe(write('{ path = "data/x.csv", target = "z.npy" }').train)
    assert description["target"] == str(tmp_path / "z.npy")


def test_a_target_may_be_several_columns(write: Write) -> None:
    dataset = Dataset.load(describe(write('{ path = "data/x.csv", target = ["c", "y"] }').train))
    assert dataset.take(slice(None)).y.shape == (2, 2)


def test_a_svmlight_file_is_told_how_many_features_it_has(write: Write) -> None:
    dataset = Dataset.load(describe(write('{ path = "data/x.svm", n_features = 5 }').train))
    assert dataset.get_data_specs().n_features == 5


@pytest.mark.usefixtures("counting")
def test_another_kind_takes_its_own_options(write: Write) -> None:
    dataset = Dataset.load(describe(write('{ kind = "counting", size = 3, of = "rabbits" }').train))
    assert isinstance(dataset, CountingDataset)
    assert (dataset.n_samples, dataset.of) == (3, "rabbits")


@pytest.mark.usefixtures("counting")
def test_an_unknown_option_of_another_kind_is_refused_with_the_nearest(write: Write) -> None:
    assert "unknown option 'sise'; did you mean 'size'?" in refused(write, '{ kind = "counting", sise = 3 }')


def test_an_unknown_kind_is_refused_with_the_nearest(write: Write) -> None:
    assert "unknown dataset 'in-memry'; did you mean 'in-memory'?" in refused(
        write, '{ kind = "in-memry", path = "x" }'
    )


def test_an_unknown_key_of_a_dataset_in_memory_is_refused_with_the_nearest(write: Write) -> None:
    message = refused(write, '{ path = "data/x.csv", traget = "y" }')
    assert message.endswith("client.toml: train: unknown key 'traget'; did you mean 'target'?")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ('{ target = "y" }', "train.path: Field required"),
        (
            '{ path = "data/x.csv", expose_classes = "perhaps" }',
            "train.expose_classes: Input should be a valid boolean",
        ),
        ("{ kind = 3 }", "train.kind: Input should be a valid string"),
        ('"data/x.csv"', "train: 'data/x.csv' is no table: write { path = \"train.csv\""),
    ],
)
def test_a_wrong_table_is_refused_where_it_is_wrong(write: Write, train: str, message: str) -> None:
    assert message in refused(write, train)
