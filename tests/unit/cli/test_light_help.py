"""What commands import before they are called: nothing that takes its time."""

import json
import subprocess
import sys

from typer.main import get_command
from typer.testing import CliRunner

from fl.cli.main import app

ASKS_EVERY_COMMAND_FOR_HELP = """
import json, sys
from typer.main import get_command
from typer.testing import CliRunner
from fl.cli.main import app

def names(command, before=()):
    yield before
    for name, one in getattr(command, "commands", {}).items():
        yield from names(one, (*before, name))

asked = [" ".join(name) for name in names(get_command(app))]
failed = [name for name in asked if CliRunner().invoke(app, [*name.split(), "--help"]).exit_code != 0]
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"asked": asked, "failed": failed, "modules": modules}))
"""
SLOW = {"numpy", "scipy", "pandas", "sklearn", "torch", "tensorflow", "keras", "aio_pika", "aiormq", "pika",
        "google", "safetensors", "matplotlib", "pydantic", "rich", "asyncio", "ssl"}  # fmt: skip


def test_no_command_imports_anything_slow_to_show_its_help() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKS_EVERY_COMMAND_FOR_HELP], capture_output=True, text=True, check=True
    )

    told = json.loads(done.stdout)
    assert {"simulate", "quickrun", "client", "broker start"} <= set(told["asked"])
    assert told["failed"] == []
    assert SLOW & set(told["modules"]) == set()


def test_the_list_of_commands_says_all_of_each_first_line() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())

    commands = get_command(app).commands  # type: ignore[attr-defined]  # of a group
    assert [name for name, one in commands.items() if _first_line(one.help) not in shown] == []


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())
