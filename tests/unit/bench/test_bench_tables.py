"""What `make bench` makes of its measurements."""

import json
from pathlib import Path

import pytest

from tests.bench.figures import Figures
from tests.bench.picture import draw
from tests.bench.results import FLOOR, OURS, OVERS, TUNED, Results
from tests.bench.rows import Row
from tests.bench.scale_table import scale_table
from tests.bench.table import BEGIN, END, placed, tables

ROW = Row.of(10, 2)
GRPC, WEBSOCKETS = TUNED
_, FASTER = OVERS


def figures(*seconds: float, server: float = 0.01, memory: float = 20.0) -> Figures:
    return Figures(seconds, {"server": server, "clients": 0.02, "broker": 0.03}, memory)


def results() -> Results:
    known = Results([ROW], [FLOOR, OURS, GRPC, WEBSOCKETS])
    known.add(ROW, FLOOR, figures(0.1, 0.1, 0.1))
    known.add(ROW, OURS, figures(0.1, 0.2, 0.9))
    known.add(ROW, GRPC, figures(0.5, 0.5, 0.5))
    known.add(ROW, WEBSOCKETS, figures(0.4, 0.4, 0.4))
    return known


def line_that_begins(text: str, begin: str) -> list[str]:
    """The cells of the first such line of a table."""
    (line, *_) = [line for line in text.splitlines() if line.startswith(f"| {begin} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_measurements_of_the_same_are_parts_of_one() -> None:
    one = Figures.merged([figures(1.0, 2.0, server=0.1, memory=30.0), figures(9.0, server=0.3, memory=10.0)])

    assert one == Figures((1.0, 2.0, 9.0), {"server": 0.2, "clients": 0.02, "broker": 0.03}, 30.0)


def test_a_round_takes_the_median_of_all_rounds() -> None:
    assert figures(0.9, 0.1, 0.2).median_s == 0.2


def test_the_spread_is_between_the_quartiles() -> None:
    assert figures(*map(float, range(1, 102))).spread_s == (26.0, 76.0)


def test_ratios_are_of_medians_and_over_the_faster_of_two() -> None:
    known = results()

    assert known.ratio(ROW, OURS, FLOOR) == pytest.approx(2.0)
    assert known.ratio(ROW, OURS, FASTER) == pytest.approx(0.5)


def test_the_table_has_a_column_for_a_row_and_a_line_for_a_contestant() -> None:
    text = tables(results())

    assert line_that_begins(text, "seconds a round (middle half)") == ["10 MB x 2"]
    assert line_that_begins(text, OURS) == ["0.20 (0.15-0.55)"]


def test_the_table_ends_with_our_ratios_to_the_floor_and_to_the_tuned_peer() -> None:
    text = tables(results())

    assert line_that_begins(text, f"{OURS} / {FLOOR}") == ["**2.00 x**"]
    assert line_that_begins(text, f"{OURS} / {FASTER}") == ["**0.50 x**"]


def test_a_contestant_that_failed_says_so_and_takes_no_figures_from_the_others() -> None:
    known = results()
    known.fail(ROW, WEBSOCKETS, "the server ended with code 1\n  a long story")

    text = tables(known)

    assert line_that_begins(text, WEBSOCKETS) == ["failed"]
    assert line_that_begins(text, f"{OURS} / {FASTER}") == ["**0.40 x**"]
    assert f"{WEBSOCKETS} failed at 10 MB x 2: the server ended with code 1\n" in f"{text}\n"
    assert "a long story" not in text
    assert line_that_begins(text, FLOOR) == ["0.10 (0.10-0.10)"]


def test_the_file_of_figures_has_everything_with_units_in_names() -> None:
    known = results()
    known.fail(ROW, GRPC, "out of luck")
    known.fail(ROW, WEBSOCKETS, "out of luck")

    (row,) = json.loads(json.dumps(known.to_json()))

    assert (row["weights_mb"], row["clients"]) == (10.0, 2)
    ours = row["contestants"][OURS]
    assert (ours["median_s"], ours[f"over {FLOOR}"], ours[f"over {FASTER}"]) == (0.2, pytest.approx(2.0), None)
    assert ours["cpu_s_a_round"] == {"server": 0.01, "clients": 0.02, "broker": 0.03}
    assert row["contestants"][GRPC] == {"failed": "out of luck"}


def test_the_table_takes_the_place_of_the_one_before() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert placed("new", text, "README.md") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_text_without_a_place_for_the_table_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"README\.md has no place for the table"):
        placed("new", "before\nafter\n", "README.md")


def test_the_picture_is_drawn_also_where_somebody_has_failed(tmp_path: Path) -> None:
    known = results()
    known.fail(ROW, GRPC, "out of luck")

    draw(known, tmp_path / "bench.svg")

    assert "seconds a round" in (tmp_path / "bench.svg").read_text("utf-8")


def test_rounds_of_few_and_of_many_have_a_line_each_with_whose_seconds_of_cpu_they_take() -> None:
    row = {"MB": 0.1, "clients": 1000, "shards": 1, "round_s": 6.14, "worker_mb": 27.4}
    cpu = {"server_cpu_s": 3.5, "clients_cpu_s": 2.0, "broker_cpu_s": 5.25}

    text = scale_table([row | cpu, row | cpu | {"shards": 2}])

    assert line_that_begins(text, "0.1 MB x 1,000") == ["6.1", "27", "11 = 3.5 + 2.0 + 5.2"]
    assert line_that_begins(text, "0.1 MB x 1,000, 2 shards") == ["6.1", "27", "11 = 3.5 + 2.0 + 5.2"]
