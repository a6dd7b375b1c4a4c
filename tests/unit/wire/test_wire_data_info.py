"""What a site tells about its data, as a message."""

import numpy as np
import pytest
from hypothesis import given

from fl.core.data_info import DataInfo
from fl.errors import BadMessage
from fl.wire.messages_pb2 import Classes
from fl.wire.messages_pb2 import DataInfo as Message
from fl.wire.tensors import read_data_info, write_data_info
from tests.unit.run.strategies import data_infos


@given(data_infos)
def test_data_info_comes_back_as_it_was(info: DataInfo) -> None:
    # When
    received = Message.FromString(write_data_info(info).SerializeToString())
    # Then
    assert read_data_info(received) == info


def test_classes_keep_their_order() -> None:
    # Given
    info = DataInfo(3, classes=("wolf", "fox", "lynx"))
    # When
    received = read_data_info(write_data_info(info))
    # Then
    assert received.classes == ("wolf", "fox", "lynx")


def test_no_classes_are_not_the_same_as_classes_that_are_not_told() -> None:
    # When
    none, untold = (read_data_info(write_data_info(DataInfo(3, classes=classes))) for classes in ((), None))
    # Then
    assert (none.classes, untold.classes) == ((), None)


def test_numbers_of_numpy_are_labels_too() -> None:
    # Given
    info = DataInfo(3, classes=tuple(np.array([3, 4])))
    # When
    received = read_data_info(write_data_info(info))
    # Then
    assert received.classes == (3, 4)


def test_labels_that_cannot_travel_are_not_lost_in_silence() -> None:
    # Given
    info = DataInfo(3, classes=(0.5, 1.5))  # type: ignore[arg-type]  # what a careless dataset could tell
    # Then
    with pytest.raises(TypeError):
        # When
        write_data_info(info)


def test_classes_of_two_kinds_are_refused() -> None:
    # Given
    message = Message(n_samples=3, classes=Classes(ints=[1], strings=["fox"]))
    # Then
    with pytest.raises(BadMessage, match="mix numbers and text"):
        # When
        read_data_info(message)
