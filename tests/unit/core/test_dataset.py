"""Datasets in memory: what they read, what they tell, and what they say about data they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch, Dataset, InMemoryDataset
from fl.errors import ConfigError, DataError

CSV = "age,dose,outcome,trust\n30,0.5,1,1.0\n40,1.5,0,2.0\n50,2.5,1,0.5\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text(CSV)
    return path


def whole(dataset: Dataset) -> Batch:
    return dataset.take(slice(None))


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        InMemoryDataset(*args, **options)
    return str(caught.value)


def test_a_csv_file_gives_all_other_columns_as_features(csv: Path) -> None:
    batch = whole(InMemoryDataset(csv, "outcome", s_wght="trust"))
    np.testing.assert_array_equal(batch.x, [[30, 0.5], [40, 1.5], [50, 2.5]])
    assert batch.y is not None
    assert batch.y.tolist() == [1, 0, 1]
    assert batch.weights is not None
    assert batch.weights.tolist() == [1.0, 2.0, 0.5]


def test_features_may_be_named(csv: Path) -> None:
    np.testing.assert_array_equal(whole(InMemoryDataset(str(csv), "outcome", f_cols=["dose"])).x, [[0.5], [1.5], [2.5]])


def test_a_data_frame_is_read_like_its_file(csv: Path) -> None:
    from_frame = whole(InMemoryDataset(pd.read_csv(csv), "outcome"))
    np.testing.assert_array_equal(from_frame.x, whole(InMemoryDataset(csv, "outcome")).x)


def test_arrays_may_be_in_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "y.npy", np.array([0, 1, 0]))
    batch = whole(InMemoryDataset(tmp_path / "x.npy", str(tmp_path / "y.npy")))
    np.testing.assert_array_equal(batch.x, [[0, 1], [2, 3], [4, 5]])
    assert batch.y is not None
    assert batch.y.tolist() == [0, 1, 0]


def test_sparse_data_stays_sparse(tmp_path: Path) -> None:
    matrix = scipy.sparse.coo_matrix(([1.0, 2.0, 3.0], ([0, 0, 2], [1, 1, 0])), shape=(3, 2))
    scipy.sparse.save_npz(tmp_path / "x.npz", matrix)
    for source in (matrix, tmp_path / "x.npz"):
        batch = whole(InMemoryDataset(source, np.zeros(3)))
        assert batch.x.format == "csr"
        np.testing.assert_array_equal(batch.x.toarray(), [[0, 3], [0, 0], [3, 0]])


def test_the_callers_sparse_matrix_stays_as_it_was() -> None:
    matrix = scipy.sparse.csr_matrix((np.ones(2), np.array([0, 0]), np.array([0, 2])), shape=(1, 1))
    InMemoryDataset(matrix)
    assert matrix.nnz == 2


def test_images_keep_their_shape() -> None:
    specs = InMemoryDataset(np.zeros((4, 8, 8, 3), "float32"), [0, 1, 0, 1]).get_data_specs()
    assert specs == DataInfo(4, None, (0, 8, 8, 3))


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (np.array([1.0, 0.0, 2.0]), (0, 1, 2)),
        (np.array([[1.0], [0.0], [1.0]]), (0, 1)),
        (np.array(["b", "a", "b"]), ("a", "b")),
        (["b", "a", "b"], ("a", "b")),
        (np.array(["b", "a", "b"], dtype=object), ("a", "b")),
        (np.array([True, False, True]), (0, 1)),
        (np.array([3, 1, 3], dtype="int8"), (1, 3)),
    ],
)
def test_labels_become_integers_or_text(given: Any, classes: tuple[int | str, ...]) -> None:
    specs = InMemoryDataset(np.zeros((3, 2)), given, expose_classes=True, expose_data_type=True).get_data_specs()
    assert specs == DataInfo(3, 2, (0, 2), classes, "float64")
    assert json.dumps(specs.classes)


@pytest.mark.parametrize("values", [[0.5, 1.0], [2.0, 1.0]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_stay_floats_of_their_dtype_whole_or_not(values: list[float], dtype: str) -> None:
    y = whole(InMemoryDataset(np.zeros((2, 1)), np.array(values, dtype))).y
    assert y.dtype == dtype


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool"])
def test_whole_numbers_and_booleans_become_the_labels_that_every_framework_takes(dtype: str) -> None:
    assert whole(InMemoryDataset(np.zeros((2, 1)), np.array([1, 0], dtype))).y.dtype == np.int64


def test_objects_that_are_numbers_are_numbers() -> None:
    assert whole(InMemoryDataset(np.zeros((2, 1)), np.array([1, 0.5], dtype=object))).y.tolist() == [1.0, 0.5]


def test_a_target_may_have_several_columns(csv: Path) -> None:
    dataset = InMemoryDataset(csv, ["dose", "outcome"])
    assert whole(dataset).x.tolist() == [[30, 1.0], [40, 2.0], [50, 0.5]]
    assert whole(dataset).y.tolist() == [[0.5, 1], [1.5, 0], [2.5, 1]]


def test_a_target_of_several_columns_is_in_the_description(csv: Path) -> None:
    description = InMemoryDataset(csv, ["dose", "outcome"]).describe()
    assert description is not None
    assert whole(Dataset.load(json.loads(json.dumps(description)))).y.shape == (3, 2)


def test_a_target_of_several_values_has_no_classes() -> None:
    assert "classes are one label each" in refused(np.zeros((2, 1)), np.eye(2), expose_classes=True)


def test_text_labels_of_two_axes_are_refused() -> None:
    assert "give one label a sample" in refused(np.zeros((2, 1)), np.array([["a", "b"], ["b", "a"]]))


def test_weights_go_with_their_samples_however_these_are_drawn() -> None:
    # Given samples whose weight is their only feature
    x = np.arange(1.0, 21.0)
    dataset = InMemoryDataset(x[:, None], s_wght=x)
    # When they are drawn in any way, then each still has its own
    for options in ({"shuffle": True}, {"poisson": True}, {"replacement": True}):
        for batch in dataset.generate_batches(4, rng=np.random.default_rng(0), **options):
            assert batch.x[:, 0].tolist() == batch.weights.tolist()


def test_small_integers_become_floats_of_half_the_size() -> None:
    assert whole(InMemoryDataset(np.zeros((2, 4, 4), "uint8"))).x.dtype == np.float32
    assert whole(InMemoryDataset(np.zeros((2, 4), "int64"))).x.dtype == np.float64


def test_classes_and_data_type_are_told_only_when_asked_for() -> None:
    specs = InMemoryDataset(np.zeros((3, 2)), [0, 1, 0]).get_data_specs()
    assert specs.classes is None
    assert specs.data_type is None


def test_a_dataset_from_files_is_built_again_from_its_description(csv: Path, tmp_path: Path) -> None:
    dataset = InMemoryDataset(csv, "outcome", s_wght="trust", f_cols=["dose"], expose_classes=True)
    dataset.save_to_json(tmp_path / "dataset.json")
    again = Dataset.load_from_json(tmp_path / "dataset.json")
    assert again.get_data_specs() == dataset.get_data_specs()
    for left, right in zip(whole(again), whole(dataset), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_description_holds_where_the_process_was(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(csv.parent)
    description = InMemoryDataset("train.csv", "outcome").describe()
    monkeypatch.chdir("/")
    assert description is not None
    assert Dataset.load(description).n_samples == 3


def test_a_dataset_from_arrays_has_no_description(tmp_path: Path) -> None:
    dataset = InMemoryDataset(np.zeros((3, 2)))
    assert dataset.describe() is None
    with pytest.raises(DataError, match="only in memory"):
        dataset.save_to_json(tmp_path / "dataset.json")


def test_an_unknown_option_in_a_description_is_named(csv: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'target'"):
        Dataset.load({"name": "in-memory", "data": str(csv), "targets": "outcome"})


@pytest.mark.parametrize("content", [None, "{"])
def test_a_description_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "dataset.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json: (no such file|not a dataset)"):
        Dataset.load_from_json(path)


def test_a_missing_target_column_is_answered_with_the_nearest_and_all(csv: Path) -> None:
    message = refused(csv, "outcom")
    for part in (str(csv), "'outcom'", "did you mean 'outcome'?", "age, dose, outcome, trust"):
        assert part in message


def test_a_missing_feature_column_is_named(csv: Path) -> None:
    assert "no column 'size', named by f_cols" in refused(csv, "outcome", f_cols=["size"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nothing.csv: no such file" in refused(tmp_path / "nothing.csv")


def test_a_file_of_unknown_kind_is_refused_with_the_known_kinds(tmp_path: Path) -> None:
    assert "use one of .csv, .npy, .npz" in refused(tmp_path / "data.xlsx")


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("a.npy", b"junk"), ("a.npz", b"junk"), ("b.csv", b"\xff")]
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{name}: cannot be read" in refused(tmp_path / name)


def test_a_pickle_in_a_file_of_arrays_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read" in refused(tmp_path / "x.npy")


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("age,outcome\n")
    assert "nothing to learn from" in refused(tmp_path / "empty.csv", "outcome")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_arrays_without_samples_or_features_are_refused(shape: tuple[int, int]) -> None:
    assert "nothing to learn from" in refused(np.zeros(shape))


def test_an_array_without_a_feature_axis_is_refused() -> None:
    assert "reshape(-1, 1)" in refused(np.zeros(3))


def test_text_in_a_feature_column_is_refused_by_its_name() -> None:
    frame = pd.DataFrame({"age": [1, 2], "city": ["Lille", "Paris"], "y": [0, 1]})
    assert "no numbers in column 'city'" in refused(frame, "y")


def test_text_in_an_array_is_refused() -> None:
    assert "numbers are needed" in refused(np.array([["a", "b"]]))


@pytest.mark.parametrize("dtype", ["float64", "Float64"])
def test_missing_values_are_refused_by_their_columns(dtype: str) -> None:
    frame = pd.DataFrame({"age": [1, None], "dose": [1, 2], "y": [0, 1]}).astype({"age": dtype})
    assert "missing values (NaN) in column 'age': fill or drop them" in refused(frame, "y")


def test_infinite_values_are_refused_by_their_columns() -> None:
    frame = pd.DataFrame({"age": [1.0, np.inf], "y": [0, 1]})
    assert "NaN or infinite in column 'age'" in refused(frame, "y")
    assert "NaN or infinite in columns 0, 1" in refused(np.array([[1.0, np.nan], [np.inf, 0.0]]))


def test_missing_values_in_sparse_data_are_refused() -> None:
    assert "NaN or infinite" in refused(scipy.sparse.csr_matrix(np.array([[np.nan, 0.0]])))


@pytest.mark.parametrize(
    ("target", "message"), [([0, np.nan], "NaN or infinite"), (["a", None], "mixes NoneType, str")]
)
def test_missing_labels_are_refused(target: Any, message: str) -> None:
    assert message in refused(np.zeros((2, 1)), np.array(target, dtype=object if None in target else float))


@pytest.mark.parametrize("what", ["target", "s_wght"])
def test_lengths_that_differ_are_refused(what: str) -> None:
    assert "has 3 values for the 2 samples" in refused(np.zeros((2, 1)), **{what: [0, 1, 1]})


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.nan], ["a", "b"]])
def test_weights_that_are_no_weights_are_refused(weights: Any) -> None:
    assert "finite numbers of at least 0" in refused(np.zeros((2, 1)), s_wght=weights)


def test_classes_cannot_be_told_without_a_target() -> None:
    assert "no target to take classes from" in refused(np.zeros((2, 1)), expose_classes=True)


def test_values_that_are_not_whole_are_no_classes() -> None:
    assert "has values and no classes" in refused(np.zeros((2, 1)), [0.5, 1.0], expose_classes=True)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pd.Series(["2020-01-01", "2020-01-02"], dtype="datetime64[s]"), "datetime64"),
        (pd.Series([1j, 2j]), "complex128"),
        (pd.Series(["a", "b"], dtype="category"), "category"),
        (pd.Series([10**40, 1], dtype=object), "object"),
    ],
)
def test_columns_that_are_no_real_numbers_are_refused_by_name_and_dtype(column: Any, dtype: str) -> None:
    message = refused(pd.DataFrame({"odd": column, "y": [0, 1]}), "y")
    assert "no numbers in column 'odd'" in message
    assert dtype in message


@pytest.mark.parametrize("target", [np.array([2**63, 1], "uint64"), np.array([2**70, 1], object)])
def test_labels_too_large_for_an_integer_are_refused(target: Any) -> None:
    assert "number its classes anew" in refused(np.zeros((2, 1)), target)


def test_complex_targets_are_refused() -> None:
    assert "use real numbers or text" in refused(np.zeros((2, 1)), [1j, 2j])


def test_columns_of_the_same_name_are_refused() -> None:
    assert "more than one column is named 'a'" in refused(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_target_among_the_features_is_refused(csv: Path) -> None:
    assert "f_cols names 'outcome', which is the target" in refused(csv, "outcome", f_cols=["age", "outcome"])


def test_a_column_of_what_is_no_table_is_refused_with_what_to_give() -> None:
    assert "target 'label' would be a column, but data is no table" in refused(np.zeros((2, 1)), "label")
    assert "target 3 would be a column" in refused(np.zeros((2, 1)), 3)


def test_another_number_of_features_than_said_is_refused(csv: Path) -> None:
    assert "n_features is 2, but samples of" in refused(csv, "outcome", n_features=2)


def test_weights_of_nothing_but_zeros_are_refused() -> None:
    assert "0 for every sample" in refused(np.zeros((2, 1)), s_wght=[0, 0])


def test_weights_of_two_axes_are_refused() -> None:
    assert "one weight a sample" in refused(np.zeros((2, 1)), s_wght=np.ones((2, 2)))


def test_columns_cannot_be_named_of_an_array() -> None:
    assert "is no table" in refused(np.zeros((2, 1)), f_cols=[0])


def test_a_target_file_of_several_columns_is_refused(csv: Path) -> None:
    assert "has 4 columns, and one is needed" in refused(np.zeros((3, 1)), csv)


def test_nullable_integers_without_holes_are_numbers() -> None:
    frame = pd.DataFrame({"age": pd.array([1, 2], dtype="Int64"), "old": [True, False]})
    np.testing.assert_array_equal(whole(InMemoryDataset(frame)).x, [[1, 1], [2, 0]])
