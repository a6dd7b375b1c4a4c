"""Configuration files: read strictly, and whatever is wrong names the file."""

from pathlib import Path

import pytest

from fl.errors import ConfigError
from fl.run.config import read_toml, unknown_key
from fl.run.spec import RunSpec, TrainingConfig

RUN = """
[model]
kind = "sklearn-sgd"

[optim]
client_opt = 0.1
aggregator = { name = "averaging", steps_weighted = false }

[run]
rounds = 10
register = { min_clients = 1, max_clients = 3, timeout = 180 }
training = { batch_size = 128 }
"""


def test_a_whole_run_is_one_toml_file(tmp_path: Path) -> None:
    # Given
    path = tmp_path / "run.toml"
    path.write_text(RUN, "utf-8")
    # When
    spec = RunSpec.from_toml(path)
    # Then
    assert spec.run.rounds == 10
    assert spec.run.registration.timeout == 180
    assert spec.optim.aggregator.config == {"steps_weighted": False}


def test_a_wrong_value_names_the_file_and_the_dotted_place(tmp_path: Path) -> None:
    # Given
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("batch_size = 128", "batch_size = 128, shuffel = true"), "utf-8")
    # Then
    with pytest.raises(ConfigError) as caught:
        # When
        RunSpec.from_toml(path)
    assert str(caught.value) == f"{path}: run.training: unknown key 'shuffel'; did you mean 'shuffle'?"


def test_text_that_is_not_toml_names_the_file_and_the_line(tmp_path: Path) -> None:
    # Given
    path = tmp_path / "run.toml"
    path.write_text("[model\n", "utf-8")
    # Then
    with pytest.raises(ConfigError, match=r"run\.toml: not valid TOML: .*line 1"):
        # When
        read_toml(path)


def test_bytes_that_are_not_text_name_the_file(tmp_path: Path) -> None:
    # Given
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe")
    # Then
    with pytest.raises(ConfigError, match=r"run\.toml: cannot be read: .*utf-8"):
        # When
        read_toml(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    # Then
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        # When
        read_toml(tmp_path / "nowhere.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    # Then
    with pytest.raises(ConfigError, match="cannot be read"):
        # When
        read_toml(tmp_path)


def test_keyword_arguments_name_their_table() -> None:
    # Then
    with pytest.raises(ConfigError, match="TrainingConfig: top level: unknown key 'batchsize'"):
        # When
        TrainingConfig.from_params(batchsize=8)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("batchsize", "did you mean 'batch_size'?"), ("xyzzy", "known here: batch_size, n_epoch")],
)
def test_an_unknown_key_gets_a_hint(key: str, hint: str) -> None:
    # When
    text = unknown_key(key, ["batch_size", "n_epoch"])
    # Then
    assert text == f"unknown key {key!r}; {hint}"
