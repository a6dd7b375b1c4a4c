"""Files of data: what svmlight says and leaves open, and CSV files that are not what they seem."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fl.core.dataset import Dataset, InMemoryDataset
from fl.core.dataset.svmlight import read_svmlight, write_svmlight
from fl.errors import ConfigError, DataError

LINES = "1 1:0.5 3:2\n-1 2:1 # a comment\n"


def refused(path: Path, *args: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        InMemoryDataset(path, *args, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.svmlight", lambda data: data),
        ("a.libsvm", lambda data: data),
        ("a.SVM", lambda data: data),
        ("a.svmlight.gz", gzip.compress),
        ("a.v1.svm.bz2", bz2.compress),
    ],
)
def test_a_svmlight_file_gives_sparse_samples_and_their_labels(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(pack(LINES.encode()))
    dataset = InMemoryDataset(tmp_path / name, expose_classes=True)
    batch = dataset.take(slice(None))
    assert batch.x.format == "csr"
    np.testing.assert_array_equal(batch.x.toarray(), [[0.5, 0, 2], [0, 1, 0]])
    assert batch.y.tolist() == [1, -1]
    assert dataset.get_data_specs().classes == (-1, 1)


def test_values_in_a_svmlight_file_stay_floats(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", "0.5 1:1\n2 1:3\n")
    assert InMemoryDataset(path).take(slice(None)).y.tolist() == [0.5, 2.0]


def test_a_svmlight_file_has_as_many_features_as_it_is_said_to_have(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", LINES)
    assert InMemoryDataset(path).get_data_specs().n_features == 3
    assert InMemoryDataset(path, n_features=9).get_data_specs().n_features == 9


def test_a_svmlight_file_with_more_features_than_said_is_refused(tmp_path: Path) -> None:
    assert "has a feature 3, counted from 1, but n_features is 2" in refused(
        written(tmp_path, "a.svm", LINES), n_features=2
    )


def test_indices_may_count_from_0(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", "1 0:5 2:7\n")
    np.testing.assert_array_equal(InMemoryDataset(path, zero_based=True).take(slice(None)).x.toarray(), [[5, 0, 7]])


def test_an_index_0_where_they_count_from_1_is_refused_with_what_to_say(tmp_path: Path) -> None:
    assert "say zero_based=True" in refused(written(tmp_path, "a.svm", "1 0:5 2:7\n"))


def test_a_sample_without_any_feature_is_a_sample(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", "1\n0\n")
    np.testing.assert_array_equal(InMemoryDataset(path, n_features=2).take(slice(None)).x.toarray(), np.zeros((2, 2)))


@pytest.mark.parametrize("text", ["1 a:b\n", "one 1:2\n", "1 3:1 1:1\n", "age,sex\n1,2\n"])
def test_what_is_not_svmlight_is_refused_with_what_a_line_looks_like(tmp_path: Path, text: str) -> None:
    assert "`label index:value ...`" in refused(written(tmp_path, "a.svm", text))


def test_a_broken_packed_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(written(tmp_path, "a.svm.gz", "no gzip"))


def test_an_empty_svmlight_file_is_refused(tmp_path: Path) -> None:
    assert "is empty" in refused(written(tmp_path, "a.svm", ""))


def test_a_missing_svmlight_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "a.svm")


def test_fewer_than_one_feature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n_features is 0"):
        InMemoryDataset(written(tmp_path, "a.svm", LINES), n_features=0)


def test_a_svmlight_file_is_no_target(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", LINES)
    with pytest.raises(DataError, match="give it as the data"):
        InMemoryDataset(np.zeros((2, 1)), path)


def test_a_svmlight_dataset_is_built_again_from_its_description(tmp_path: Path) -> None:
    path = written(tmp_path, "a.svm", "1 0:1\n")
    description = InMemoryDataset(path, n_features=4, zero_based=True).describe()
    assert description is not None
    assert Dataset.load(description).get_data_specs().n_features == 4


def test_what_is_written_as_svmlight_is_read_the_same(tmp_path: Path) -> None:
    matrix = scipy.sparse.random_array((20, 7), density=0.3, format="csr", rng=np.random.default_rng(0))
    labels = np.arange(20) % 3
    write_svmlight(tmp_path / "a.svm", matrix, labels)
    again, labels_again = read_svmlight(tmp_path / "a.svm", n_features=7)
    np.testing.assert_allclose(again.toarray(), matrix.toarray(), rtol=1e-12)
    assert labels_again.tolist() == labels.tolist()


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_is_recognised(tmp_path: Path, mark: str) -> None:
    message = refused(written(tmp_path, "a.csv", f"age{mark}y\n1{mark}0\n"), "y")
    assert f"its delimiter seems to be {mark!r}: write it with commas" in message


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "more than one column is named 'age'" in refused(written(tmp_path, "a.csv", "age,age,y\n1,2,0\n"), "y")


def test_a_missing_header_is_recognised(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "a.csv", "5.1,3.5,0.2\n4.9,3.0,0.1\n"))
    assert "its first line has numbers, 5.1,3.5,0.2, where names of columns belong" in message


def test_columns_may_be_named_by_numbers(tmp_path: Path) -> None:
    assert InMemoryDataset(written(tmp_path, "a.csv", "0,1,y\n5,6,1\n"), "y").get_data_specs().n_features == 2


def test_rows_longer_than_the_header_are_refused(tmp_path: Path) -> None:
    assert "more fields than its header" in refused(written(tmp_path, "a.csv", "age,y\n1,2,0\n3,4,1\n"), "y")


def test_a_row_that_is_too_long_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 3" in refused(written(tmp_path, "a.csv", "age,y\n1,2\n1,2,3\n"), "y")


def test_a_row_that_is_too_short_is_a_missing_value(tmp_path: Path) -> None:
    assert "missing values (NaN) in column 'dose'" in refused(
        written(tmp_path, "a.csv", "y,age,dose\n1,2,3\n0,1\n"), "y"
    )


def test_a_column_of_nothing_is_missing_values(tmp_path: Path) -> None:
    assert "missing values (NaN) in column 'dose'" in refused(
        written(tmp_path, "a.csv", "y,age,dose\n1,2,\n0,1,\n"), "y"
    )


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfy,age\n1,2\n")
    assert InMemoryDataset(path, "y").n_samples == 1


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "a.csv")


def test_dense_arrays_in_npz_are_refused_with_what_to_use(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert "dense arrays are .npy" in refused(tmp_path / "a.npz")
