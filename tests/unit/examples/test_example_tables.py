"""Tables that examples measure, and where they go."""

from pathlib import Path

import pytest

from fl.examples.tables import show


def test_a_table_is_printed_and_takes_the_place_of_the_one_between_its_markers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- it -->\nold\n<!-- /it -->\nafter\n")

    show(iter(["| a |", "| 1 |"]), name="it", credit="nobody's", into=file)

    assert file.read_text() == "before\n<!-- it -->\n| a |\n| 1 |\n<!-- /it -->\nafter\n"
    assert capsys.readouterr().out == "| a |\n| 1 |\n\nData: nobody's.\n"


@pytest.mark.parametrize("text", [None, "", "<!-- it -->\n", "<!-- /it -->", "<!-- other -->\n<!-- /other -->"])
def test_a_file_without_a_place_for_the_table_is_refused_before_anything_is_measured(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "README.md"
    if text is not None:
        file.write_text(text)
    measured = iter(["| a |"])

    with pytest.raises(SystemExit, match=r"README\.md: no lines <!-- it -->"):
        show(measured, name="it", credit="nobody's", into=file)

    assert next(measured) == "| a |"
    assert (file.read_text() if file.exists() else None) == text
