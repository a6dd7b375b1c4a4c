"""What people copy from the README is what the code understands."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from fl.client.config import ClientConfig
from fl.core.doors import Doors
from fl.core.model.torch import TorchModel
from fl.examples.tables import placed
from fl.main.config import FLOptimConfig
from fl.main.experiment import Experiment

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
TABLES = [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
NETS = re.search(r"^```python\n# mylab/nets.py\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_experiment_is_one() -> None:
    (whole,) = [table for table in TABLES if {"run", "model"} <= set(table)]
    assert [client.name for client in Experiment.parse(whole, "README").clients] == ["cleveland"]


def test_algorithms_are_named_as_they_are_known() -> None:
    presets = [table["optim"] for table in TABLES if "preset" in table.get("optim", {})]
    modules = [FLOptimConfig.from_config(table).server_opt["modules"][0][0] for table in presets]
    assert modules == ["scaffold-server", "yogi"]


def test_a_network_of_ones_own_is_built_where_the_site_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the package of the README, the run's [model] and the site's [allow]
    assert NETS is not None
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").touch()
    (tmp_path / "mylab" / "nets.py").write_text(NETS.group(1), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (model,) = [table["model"] for table in TABLES if set(table) == {"model"}]
    (allow,) = [table["allow"] for table in TABLES if "allow" in table]
    site = ClientConfig.parse({"name": "ant", "train": {"path": "train.csv"}, "allow": allow}, "README")

    # When
    with monkeypatch.context() as process:
        process.setattr("fl.core.doors._process.doors", Doors(tuple(site.allow.factories)))
        built = TorchModel.from_config(model["config"])

    # Then
    assert built.get_weights().layout.names[0] == "first.weight"
    del sys.modules["mylab.nets"], sys.modules["mylab"]


@pytest.mark.parametrize("name", ["digits", "privacy", "central-privacy"])
def test_figures_that_commands_measure_have_a_place(name: str) -> None:
    assert "| figures |" in placed(name, "| figures |", README)
    assert placed(name, "| figures |", README).count(f"<!-- {name} -->") == 1
