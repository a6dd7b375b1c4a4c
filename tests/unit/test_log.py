"""Events as lines."""

import logging

import pytest

from fl.log import get_log


def test_a_line_is_the_event_then_what_is_bound_then_its_own_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    get_log("fl.test", run="r1").bind(leader="ab").info("round_committed", round=3, loss=0.123456789)

    assert caplog.messages == ["round_committed run=r1 leader=ab round=3 loss=0.123457"]


def test_a_value_with_spaces_is_quoted_so_that_fields_can_be_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    get_log("fl.test").warning("client_dropped", reason="no answer in time", note="")

    assert caplog.messages == ["client_dropped reason='no answer in time' note=''"]


def test_an_exception_of_ours_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("x")
    except KeyError:
        get_log("fl.test").exception("request_failed", run="r1")

    assert caplog.records[0].exc_info is not None
