"""What is shown stands as it was written."""

import subprocess
import sys
from pathlib import Path

import pytest

from fl.cli.terminal import terminal


def test_brackets_are_shown_and_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal().print("the [[clients]] of [bold]run[/].toml, [Errno 111]", soft_wrap=True)

    assert capsys.readouterr().out == "the [[clients]] of [bold]run[/].toml, [Errno 111]\n"


def test_a_run_that_is_shown_is_not_logged_as_well(tmp_path: Path) -> None:
    # Given two sites that disagree on their features
    for name, columns in (("ant", "a,b,y"), ("bee", "a,y")):
        row = ",".join("1" for _ in columns.split(","))
        (tmp_path / f"{name}.csv").write_text(f"{columns}\n{row}\n{row}\n")
    (tmp_path / "run.toml").write_text(
        """
        model = { kind = "sklearn-sgd", config = { kind = "regressor" } }
        optim = { client_opt = 0.1 }
        run = { rounds = 1, register = 2, training = { batch_size = 1 } }
        clients = [
            { name = "ant", train = { path = "ant.csv", target = "y" } },
            { name = "bee", train = { path = "bee.csv", target = "y" } },
        ]
        """
    )

    # When they are run together
    command = [sys.executable, "-m", "fl.cli", "quickrun", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    # Then the display names them, and beside it there is one line of error
    assert done.returncode == 1
    assert "ant has 2, bee has 1" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: run")
