"""What commands set in their environment for the frameworks that they may import."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from fl.cli.main import run
sys.argv = ["fluffle", "--version"]
try:
    run()
finally:
    print(os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""


@pytest.mark.parametrize(("given", "expected"), [({}, "tensorflow 2"), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, "tensorflow 0")])
def test_keras_is_told_its_backend_and_tensorflow_to_log_less_unless_somebody_said_otherwise(
    given: dict[str, str], expected: str
) -> None:
    others = {
        name: value for name, value in os.environ.items() if name not in {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"}
    }
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, env={**others, **given}, capture_output=True, text=True
    )
    assert ran.stdout.splitlines()[-1] == expected
