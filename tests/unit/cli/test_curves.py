"""The picture of a run."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fl.cli.curves import curves, draw_curves
from fl.errors import ConfigError
from fl.submit.history import History

PNG = b"\x89PNG\r\n\x1a\n"


def history(*, clients: int = 2, metric: str = "accuracy") -> History:
    """Three rounds, of which the second was not evaluated."""
    rows = {}
    for round_ in (1, 2, 3):
        rows[round_] = {"round": float(round_), "steps": 10.0}
        if round_ != 2:
            rows[round_] |= {"loss": 1.0 / round_, metric: 0.5 + round_ / 10}
            rows[round_] |= {f"loss of site-{number}": 2.0 / round_ for number in range(clients)}
    return History(rows)


def test_a_png_is_written(tmp_path: Path) -> None:
    draw_curves(history(), tmp_path / "new" / "curves.png", title="run")
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(PNG)


def test_the_loss_of_all_and_of_each_client_have_a_line_with_the_rounds_that_were_evaluated() -> None:
    # When
    losses, _ = curves(history(), title="run", metric="accuracy", references={}).axes

    # Then
    lines = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in losses.lines}
    assert lines == {
        "all clients": [[1.0, 1.0], [3.0, 1 / 3]],
        "site-0": [[1.0, 2.0], [3.0, 2 / 3]],
        "site-1": [[1.0, 2.0], [3.0, 2 / 3]],
    }


def test_references_are_level_lines_beside_the_metric() -> None:
    # When
    _, metric = curves(history(), title="run", metric="accuracy", references={"central": 0.8, "own": 0.6}).axes

    # Then
    levels = {line.get_label(): set(np.asarray(line.get_ydata()).tolist()) for line in metric.lines}
    assert levels == {"federated": {0.6, 0.8}, "central": {0.8}, "own": {0.6}}


def test_a_run_without_the_metric_has_the_losses_only() -> None:
    assert len(curves(history(metric="mse"), title="run", metric="accuracy", references={}).axes) == 1


def test_too_many_clients_to_tell_apart_share_one_entry_of_the_legend() -> None:
    # When
    losses = curves(history(clients=30), title="run", metric="accuracy", references={}).axes[0]

    # Then
    legend = losses.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["each of 30 clients", "all clients"]


def test_a_single_point_can_be_seen() -> None:
    # Given
    one = History({1: {"round": 1.0, "loss": 0.5}})

    # When
    (losses,) = curves(one, title="run", metric="accuracy", references={}).axes

    # Then
    assert losses.lines[0].get_marker() == "o"


def test_a_run_that_was_never_evaluated_is_refused() -> None:
    with pytest.raises(ConfigError, match="no round of this run was evaluated"):
        curves(History({1: {"round": 1.0}}), title="run", metric="accuracy", references={})


def test_without_matplotlib_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"install fluffle\[dashboard\]"):
        curves(history(), title="run", metric="accuracy", references={})
