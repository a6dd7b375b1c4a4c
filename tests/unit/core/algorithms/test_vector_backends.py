"""Vectors of every framework do what numpy does with the same numbers, and mix with vectors of numpy."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fl.core.layout import Layout, Role
from fl.core.vector import NumpyVector, Vector
from tests.unit.core.algorithms.vector_backends import BACKENDS, NUMPY, TENSORFLOW, TORCH, Backend, values_of

Operator = Callable[[Any, Any], Any]

BINARY: list[Operator] = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
IN_PLACE: list[Operator] = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow]
ALL = pytest.mark.parametrize("backend", BACKENDS, ids=str)
OTHERS = pytest.mark.parametrize("backend", [TORCH, TENSORFLOW], ids=str)


def numbers(seed: int = 0, dtype: str = "float32") -> NumpyVector:
    """Positive floats in tensors of several shapes, one of them empty, beside integers and booleans."""
    rng = np.random.default_rng(seed)
    arrays = {"a": rng.uniform(0.5, 2.0, (2, 3)), "none": np.zeros((0, 2)), "b": rng.uniform(0.5, 2.0, 4)}
    floats = {name: array.astype(dtype) for name, array in arrays.items()}
    return NumpyVector.from_arrays({**floats, "count": np.array(7), "mask": np.array([True, False])})


def signed(seed: int = 0) -> NumpyVector:
    return numbers(seed) - 1.25


def assert_same(vector: Vector, expected: NumpyVector, backend: Backend) -> None:
    """Of this framework, and with these values in every tensor."""
    assert type(vector) is type(backend.make(expected))
    assert vector.layout == expected.layout
    for mine, theirs in zip(vector.to_numpy().arrays().values(), expected.arrays().values(), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@ALL
@pytest.mark.parametrize("op", BINARY)
def test_an_operator_between_vectors_is_numpys(op: Operator, backend: Backend) -> None:
    result = op(backend.make(numbers(0)), backend.make(numbers(1)))
    assert_same(result, op(numbers(0), numbers(1)), backend)


@ALL
@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("scalar", [3, 2.5, np.float64(2.5), np.float32(2.5), np.int64(3)], ids=repr)
def test_a_scalar_stands_on_either_side_and_changes_no_dtype(op: Operator, scalar: Any, backend: Backend) -> None:
    assert_same(op(backend.make(numbers()), scalar), op(numbers(), float(scalar)), backend)
    assert_same(op(scalar, backend.make(numbers())), op(float(scalar), numbers()), backend)


@OTHERS
@pytest.mark.parametrize("op", BINARY)
def test_a_vector_of_numpy_on_either_side_gives_one_of_the_other_framework(op: Operator, backend: Backend) -> None:
    assert_same(op(backend.make(numbers(0)), numbers(1)), op(numbers(0), numbers(1)), backend)
    assert_same(op(numbers(0), backend.make(numbers(1))), op(numbers(0), numbers(1)), backend)


@ALL
@pytest.mark.parametrize("op", IN_PLACE)
@pytest.mark.parametrize("operand", ["scalar", "same", "numpy"])
def test_what_looks_like_arithmetic_in_place_gives_the_same_numbers(
    op: Operator, operand: str, backend: Backend
) -> None:
    right = {"scalar": 1.5, "same": backend.make(numbers(1)), "numpy": numbers(1)}[operand]
    expected = op(numbers(0), 1.5 if operand == "scalar" else numbers(1))
    assert_same(op(backend.make(numbers(0)), right), expected, backend)


@ALL
def test_a_negative_is_the_negative(backend: Backend) -> None:
    assert_same(-backend.make(numbers()), -1.0 * numbers(), backend)


@ALL
def test_element_wise_functions_are_numpys(backend: Backend) -> None:
    vector, expected = backend.make(signed()), signed()
    assert_same(vector.sign(), expected.sign(), backend)
    assert_same(backend.make(numbers()).sqrt(), numbers().sqrt(), backend)
    for other in (0.25, -signed(1)):
        mine = other if isinstance(other, float) else backend.make(other)
        assert_same(vector.minimum(mine), expected.minimum(other), backend)
        assert_same(vector.maximum(mine), expected.maximum(other), backend)


@OTHERS
@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_minimum_and_maximum_mix_with_numpy(name: str, backend: Backend) -> None:
    expected = getattr(signed(0), name)(signed(1))
    assert_same(getattr(backend.make(signed(0)), name)(signed(1)), expected, backend)
    assert_same(getattr(signed(0), name)(backend.make(signed(1))), expected, backend)


@ALL
def test_sum_dot_and_norm_are_those_of_float64(backend: Backend) -> None:
    vector, flat = backend.make(signed()), signed().flat.astype("float64")
    assert vector.sum() == pytest.approx(flat.sum(), rel=1e-12)
    assert vector.norm() == pytest.approx(np.linalg.norm(flat), rel=1e-12)
    assert vector.dot(numbers(1)) == pytest.approx(flat @ numbers(1).flat.astype("float64"), rel=1e-12)
    assert numbers(1).dot(vector) == vector.dot(numbers(1))


@ALL
def test_norms_are_those_of_each_float_tensor_and_0_of_an_empty_one(backend: Backend) -> None:
    arrays = signed().arrays()
    norms = np.asarray(backend.make(signed()).tensor_norms())
    np.testing.assert_allclose(norms, [np.linalg.norm(arrays[name]) for name in ("a", "none", "b")], rtol=1e-6)
    assert norms.dtype == np.float32


@ALL
def test_each_tensor_is_scaled_by_its_own_factor(backend: Backend) -> None:
    vector = backend.make(signed())
    scaled = vector.scale_tensors(vector.tensor_norms() * 0 + 2.0).to_numpy()
    assert scaled == signed() * 2.0
    norms = np.asarray(vector.scale_tensors(vector.tensor_norms()).tensor_norms())
    np.testing.assert_allclose(norms, np.asarray(vector.tensor_norms()) ** 2, rtol=1e-6)


@ALL
def test_each_tensor_is_clipped_to_a_norm_and_the_short_stay_as_they_are(backend: Backend) -> None:
    vector = NumpyVector.from_arrays({"long": np.array([3.0, 4.0]), "none": np.zeros(0), "short": np.array([0.5])})
    clipped = backend.make(vector).clip_tensors(1.0).to_numpy().arrays()
    np.testing.assert_allclose(clipped["long"], [0.6, 0.8])
    assert clipped["short"] == 0.5


@ALL
def test_a_vector_without_a_tensor_has_no_norms_and_a_norm_of_0(backend: Backend) -> None:
    nothing = backend.make(NumpyVector.from_arrays({}))
    assert np.asarray(nothing.tensor_norms()).shape == (0,)
    assert (nothing.norm(), nothing.first_nonfinite()) == (0.0, None)


@ALL
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_tensor_with_what_is_no_number_is_named(value: float, backend: Backend) -> None:
    vector = numbers()
    assert backend.make(vector).first_nonfinite() is None
    vector.arrays()["b"][2] = value
    assert backend.make(vector).first_nonfinite() == "b"


@ALL
def test_a_moving_average_goes_the_way_that_beta_leaves(backend: Backend) -> None:
    moved = backend.make(numbers(0)).ewma(backend.make(numbers(1)), 0.75)
    assert_same(moved, numbers(0) * 0.75 + numbers(1) * 0.25, backend)


@ALL
def test_zeros_copies_and_casts_are_numpys(backend: Backend) -> None:
    vector = backend.make(numbers())
    assert_same(vector.zeros_like(), numbers().zeros_like(), backend)
    assert_same(vector.copy(), numbers(), backend)
    assert_same(vector.astype("float64"), numbers().astype("float64"), backend)
    assert vector.empty_like().layout == vector.layout


@pytest.mark.parametrize("backend", [NUMPY, TORCH], ids=str)
def test_a_copy_and_the_writable_parts_of_a_vector_share_what_they_say_they_share(backend: Backend) -> None:
    long = NumpyVector.from_arrays({"w": np.arange(500_000, dtype="float32")})
    vector = backend.make(long)
    copy = vector.copy()
    parts = list(vector.blocks())
    for part in parts:
        part *= 2.0  # noqa: PLW2901  # it writes into the vector, which is the test
    assert len(parts) > 1
    assert vector.to_numpy() == long * 2.0
    assert copy.to_numpy() == long


@ALL
def test_a_short_vector_is_one_part(backend: Backend) -> None:
    vector = backend.make(numbers())
    assert [part is vector for part in vector.blocks()] == [True]


@ALL
def test_values_of_any_framework_become_those_of_this_one(backend: Backend) -> None:
    for source in BACKENDS:
        assert_same(backend.make(numbers(0)).like(source.make(numbers(1))), numbers(1), backend)


@ALL
def test_vectors_of_different_layouts_do_not_mix_and_the_first_difference_is_named(backend: Backend) -> None:
    left, right = (backend.make(NumpyVector.from_arrays({"a": np.zeros(2), "b": np.zeros(n)})) for n in (2, 3))
    for mix in (operator.add, operator.isub, operator.pow):
        with pytest.raises(ValueError, match=r"'b' differs: b: float64\[2\] against b: float64\[3\]"):
            mix(left, right)
    for name in ("dot", "minimum", "like"):
        with pytest.raises(ValueError, match=r"'b' differs: b: float64\[\d\] against b: float64\[\d\]"):
            getattr(left, name)(right)


@ALL
def test_text_is_no_operand(backend: Backend) -> None:
    with pytest.raises(TypeError):
        backend.make(numbers()) + "1"
    with pytest.raises(TypeError, match="expected a number or a"):
        backend.make(numbers()).minimum("1")


ROLES = {"a": Role.TRAINABLE, "none": Role.TRAINABLE, "b": Role.BUFFER, "count": Role.FIXED, "mask": Role.FIXED}


@ALL
@pytest.mark.parametrize(
    ("roles", "names"),
    [
        ((Role.TRAINABLE,), ("a", "none")),
        ((Role.BUFFER,), ("b",)),
        ((Role.TRAINABLE, Role.BUFFER), ("a", "none", "b")),
        ((Role.BUFFER, Role.FIXED), ("b", "count", "mask")),
        ((Role.FIXED,), ("count", "mask")),
        (tuple(Role), tuple(ROLES)),
        ((), ()),
    ],
)
def test_the_tensors_of_some_roles_are_a_vector(
    roles: tuple[Role, ...], names: tuple[str, ...], backend: Backend
) -> None:
    source = NumpyVector.from_arrays(numbers().arrays(), ROLES)
    selected = backend.make(source).select(*roles)
    assert selected.layout.names == names
    for name, array in selected.to_numpy().arrays().items():
        np.testing.assert_array_equal(array, source.arrays()[name])


@ALL
def test_roles_with_another_between_them_are_no_vector(backend: Backend) -> None:
    vector = backend.make(NumpyVector.from_arrays(numbers().arrays(), ROLES))
    with pytest.raises(ValueError, match="trainable and fixed do not lie side by side"):
        vector.select(Role.TRAINABLE, Role.FIXED)


@ALL
def test_arrays_have_the_shapes_and_values_of_the_layout(backend: Backend) -> None:
    arrays = backend.make(numbers()).arrays()
    assert [tuple(array.shape) for array in arrays.values()] == [spec.shape for spec in numbers().layout.specs]
    np.testing.assert_array_equal(np.asarray(arrays["b"]), numbers().arrays()["b"])


@OTHERS
def test_a_framework_takes_its_own_tensors_in(backend: Backend) -> None:
    vector = backend.make(numbers())
    again = type(vector).from_arrays(vector.arrays())  # type: ignore[attr-defined]  # every backend has it
    assert again.layout == Layout(numbers().layout.specs)
    np.testing.assert_array_equal(values_of(again), numbers().flat)
