"""Which rows `make bench` measures."""

from dataclasses import dataclass, field

import pytest

from tests.bench.__main__ import options_of, schedule
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.rows import DEFAULT, Row, parse_rows


@dataclass(frozen=True, slots=True)
class Named:
    """A contestant that is only scheduled."""

    label: str
    passes: int = field(default=2)

    async def measure(self, row: Row, ground: Ground) -> Figures:
        raise NotImplementedError


def test_rows_are_megabytes_and_clients() -> None:
    rows = parse_rows("0.1x2, 10x8")

    assert [(row.n_bytes, row.n_clients) for row in rows] == [(100_000, 2), (10_000_000, 8)]


def test_the_default_rows_are_those_of_the_design() -> None:
    assert [row.label for row in parse_rows(DEFAULT)] == ["0.1 MB x 2", "10 MB x 2", "10 MB x 8", "100 MB x 2"]


def test_larger_weights_than_asked_for_are_left_out() -> None:
    assert [row.label for row in parse_rows(DEFAULT, most_mb=1)] == ["0.1 MB x 2"]


@pytest.mark.parametrize("text", ["10", "10x", "x2", "0x2", "10x0", "10 MB x 2", "10x2.5", ""])
def test_what_is_no_row_is_said_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"write megabytes and clients, as in 0\.1x2"):
        parse_rows(text)


def test_every_row_has_at_least_five_rounds_that_count() -> None:
    assert min(row.n_rounds for row in parse_rows(DEFAULT)) >= 5
    assert min(row.shortened().n_rounds for row in parse_rows(DEFAULT)) >= 5


def test_contestants_of_a_row_take_turns_forwards_and_backwards() -> None:
    first, second = Row.of(1, 2), Row.of(2, 2)
    those = [Named("a"), Named("slow", passes=1), Named("b")]

    order = [(row, one.label) for row, one in schedule(those, [first, second])]

    one_row = ["a", "slow", "b", "b", "a"]
    assert order == [(first, label) for label in one_row] + [(second, label) for label in one_row]


def test_a_file_without_markers_is_refused_before_anything_is_measured(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path_factory.mktemp("docs") / "README.md"
    file.write_text("# No place\n", "utf-8")

    with pytest.raises(SystemExit):
        options_of(["--into", str(file)])

    assert "put the lines <!-- bench --> and <!-- /bench --> where it belongs" in capsys.readouterr().err


def test_an_unknown_compression_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of(["--compression", "bf61"])

    assert "did you mean 'bf16'" in capsys.readouterr().err
