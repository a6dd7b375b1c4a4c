"""The demonstration's table."""

import io

from rich.console import Console

from fl.cli.demo_table import show_comparison
from fl.examples.heart.compare import Comparison, Row, Score

NORTH = Row("North", Score(10, 9, 2.0), Score(10, 8, 3.0), Score(10, 10, 1.0), Score(40, 20))
SOUTH = Row("South", Score(30, 15, 18.0), Score(30, 24, 9.0), Score(30, 21, 15.0), Score(40, 30))


def printed() -> list[list[str]]:
    """The words of each line."""
    console = Console(file=io.StringIO(), width=100)
    show_comparison(Comparison((NORTH, SOUTH)), console)
    assert isinstance(console.file, io.StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_a_hospital_has_its_patients_and_four_judgements_of_them() -> None:
    # Then in the order own, federated, central, and its own model judged by everybody
    assert ["North", "10", "0.800", "0.900", "1.000", "0.500"] in printed()
    assert ["South", "30", "0.800", "0.500", "0.700", "0.750"] in printed()


def test_all_patients_count_alike_and_own_models_at_home_are_apart_from_their_mean_over_all() -> None:
    # Then own models are right about 32 of 40 at home, and about (20 + 30) / 2 of 40 of all
    assert ["all", "40", "0.800", "0.600", "0.775", "mean", "0.625"] in printed()


def test_the_log_loss_is_per_patient() -> None:
    assert ["log-loss", "of", "all", "0.300", "0.500", "0.400"] in printed()
