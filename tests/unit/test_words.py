"""What others say, before it is shown or written down."""

from fl.words import MOST, plain, words


def test_what_others_have_sent_commands_no_terminal() -> None:
    assert plain("a\x1b[31mred\x07\n\x9bnaïve") == "a\ufffd[31mred\ufffd\ufffd\ufffdnaïve"


def test_the_lines_of_an_error_stay_lines() -> None:
    assert words("first\n\x1b[2Jsecond") == "first\n\ufffd[2Jsecond"


def test_no_text_is_kept_without_end() -> None:
    assert words("a" * MOST) == "a" * MOST
    assert words("a" * 3 * MOST) == "a" * MOST + f" ... ({3 * MOST} characters in all)"
