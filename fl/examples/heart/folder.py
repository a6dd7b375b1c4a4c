"""The example as files: what a researcher has, and what each hospital has."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final

from fl.examples.heart.hospitals import Hospital, Patients
from fl.examples.heart.schema import FEATURES, TARGET

CLIENT: Final = """\
# The daemon of one hospital: `fluffle client client.toml`, with the broker's URL in FLUFFLE_BROKER.
name = "{name}"
state = "state"
train = {{ path = "train.csv", target = "disease", expose_classes = true }}
valid = {{ path = "valid.csv", target = "disease" }}
"""

NETWORKS: Final = {"torch": ("torch", "torch_net"), "keras": ("tensorflow", "keras_net")}
"""The kind of model, and the module of this package that makes it, of what can take scikit-learn's place."""
FRAMEWORKS: Final = ("scikit-learn", *NETWORKS)


def write_example(
    hospitals: Iterable[Hospital],
    folder: Path,
    *,
    framework: str = "scikit-learn",
    seed: int | None = None,
    rounds: int | None = None,
) -> Path:
    """Write `run.toml` and a folder for each hospital, with its patients and its `client.toml`.

    Returns the path of `run.toml`, which has the model of `framework`, one of `FRAMEWORKS`, and `seed` and `rounds`
    where they are given.
    """
    for hospital in hospitals:
        home = folder / hospital.name
        home.mkdir(parents=True, exist_ok=True)
        for name, patients in (("train", hospital.train), ("valid", hospital.valid), ("test", hospital.held_out)):
            _write_patients(patients, home / f"{name}.csv")
        (home / "client.toml").write_text(CLIENT.format(name=hospital.name), "utf-8")
    text = (files("fl.examples.heart") / "run.toml").read_text("utf-8")
    if framework in NETWORKS:
        text = re.sub(r"^\[model\]\n(.+\n)+", _model_table(*NETWORKS[framework]), text, flags=re.MULTILINE)
    for key, value in (("seed", seed), ("rounds", rounds)):
        if value is not None:
            text = re.sub(rf"^{key} = \d+$", f"{key} = {value}", text, flags=re.MULTILINE)
    run = folder / "run.toml"
    run.write_text(text, "utf-8")
    return run


def _model_table(kind: str, module: str) -> str:
    factory = f"fl.examples.heart.{module}:network"
    return f'[model]\nkind = "{kind}"\nconfig = {{ factory = "{factory}", kwargs = {{ hidden = 16 }} }}\n'


def _write_patients(patients: Patients, path: Path) -> None:
    import pandas as pd  # noqa: PLC0415  # whoever has patients has it loaded

    table = pd.DataFrame(patients.x, columns=list(FEATURES))
    table[TARGET] = patients.y
    table.to_csv(path, index=False, lineterminator="\n")
