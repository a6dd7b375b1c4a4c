"""The example data: the figures their notice gives, and the people it must name."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "fl" / "examples" / "data"

with (DATA / "heart_disease_uci.csv").open(newline="") as file:
    PATIENTS = list(csv.DictReader(file))


def test_the_notice_counts_each_hospitals_patients_and_diseased() -> None:
    # Given the notice's first table: | place | patients | of them diseased | … |
    rows = re.findall(r"^\| ([A-Z][\w ]+) \| (\d+) \| (\d+) \|", (DATA / "README.md").read_text(), re.MULTILINE)

    # When the patients are counted
    patients = Counter(row["dataset"] for row in PATIENTS)
    diseased = Counter(row["dataset"] for row in PATIENTS if row["num"] != "0")

    # Then it is what the notice says
    assert {place: (int(n), int(ill)) for place, n, ill in rows} == {
        place: (patients[place], diseased[place]) for place in patients
    }


def test_the_notice_describes_every_column_in_order() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (DATA / "README.md").read_text(), re.MULTILINE)
    assert described == ["dataset", *PATIENTS[0]]  # the first table is headed by `dataset`


@pytest.mark.parametrize("notice", [DATA / "README.md", ROOT / "NOTICE"], ids=lambda path: path.name)
@pytest.mark.parametrize(
    "investigator", ["Andras Janosi", "William Steinbrunn", "Matthias Pfisterer", "Robert Detrano"]
)
def test_a_notice_names_those_who_collected_the_data(notice: Path, investigator: str) -> None:
    assert investigator in notice.read_text()
