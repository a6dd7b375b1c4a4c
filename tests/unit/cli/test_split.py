"""`fluffle split`: files that hold every sample once, tables that daemons can start from, and errors in words."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fl.cli.split import Plan, run_split
from fl.cli.split_labels import labels_of
from fl.cli.split_picture import shares_figure
from fl.cli.split_report import Report, Share
from fl.client.config import ClientConfig
from fl.client.setup import describe
from fl.core.dataset import Batch, Dataset
from fl.core.dataset.svmlight import write_svmlight
from fl.errors import ConfigError, DataError
from fl.main.experiment import Experiment

PNG = b"\x89PNG\r\n\x1a\n"


def split(data: Path | str, out: Path, *, target: str | None = None, force: bool = False, **options: Any) -> None:
    run_split(str(data), out, target=target, plan=Plan(**options), force=force)


def refused(data: Path | str, out: Path, **options: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        split(data, out, **options)
    return str(caught.value)


def batches(out: Path) -> list[Batch]:
    """All data of all clients, as their daemons read it."""
    found = []
    for file in sorted(out.glob("client-*/client.toml")):
        config = ClientConfig.from_file(file)
        parts = [config.train] if config.valid is None else [config.train, config.valid]
        found += [Dataset.load(describe(part)).take(slice(None)) for part in parts]
    return found


def everything(out: Path) -> list[list[float]]:
    """All samples with their targets, sorted."""
    rows = []
    for batch in batches(out):
        x = batch.x.toarray() if hasattr(batch.x, "tocsr") else np.asarray(batch.x).reshape(len(batch.x), -1)
        rows += [[*features, label] for features, label in zip(x.tolist(), batch.y.tolist(), strict=True)]
    return sorted(rows)


def arrays(folder: Path, kind: str) -> tuple[Path, str | None, list[list[float]]]:
    """Sixty samples of three labels in files of a kind: data, target, and what is in them."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (60, 4)).astype(float) * rng.integers(0, 2, (60, 4)), np.arange(60) % 3
    path, beside = folder / f"data{kind}", folder / "y.npy"
    np.save(beside, y)
    match kind:
        case ".csv":
            pd.DataFrame({**dict(zip("abcd", x.T, strict=True)), "y": y}).to_csv(path, index=False)
        case ".npy":
            np.save(path, x.reshape(60, 2, 2))
        case ".npz":
            scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(x))
        case _:
            write_svmlight(path, scipy.sparse.csr_matrix(x), y)
    target = {".csv": "y", ".svmlight": None}.get(kind, str(beside))
    return path, target, sorted([*features, float(label)] for features, label in zip(x.tolist(), y, strict=True))


@pytest.mark.parametrize("by", ["iid", "label", "dirichlet", "size"])
@pytest.mark.parametrize("kind", [".csv", ".npy", ".npz", ".svmlight"])
def test_daemons_find_every_sample_in_one_place(tmp_path: Path, kind: str, by: str) -> None:
    data, target, samples = arrays(tmp_path, kind)
    split(data, tmp_path / "out", target=target, clients=4, by=by)
    assert everything(tmp_path / "out") == samples


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for out in ("one", "two"):
        split("iris", tmp_path / out, by="dirichlet", clients=3, seed=5)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 3 * 3 + 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_another_seed_gives_other_shares(tmp_path: Path) -> None:
    for seed in (1, 2):
        split("iris", tmp_path / str(seed), seed=seed)
    one, other = (tmp_path / str(seed) / "client-1" / "train.csv" for seed in (1, 2))
    assert one.read_text() != other.read_text()


def test_a_tables_fields_stay_the_text_they_were(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,city,y\n" + "".join(f'007{i},"Lyon, Rhône",NA\n' for i in range(4)))
    split(tmp_path / "data.csv", tmp_path / "out", clients=2, valid=0.0)
    lines = [
        line for i in (1, 2) for line in (tmp_path / "out" / f"client-{i}" / "train.csv").read_text().splitlines()[1:]
    ]
    assert sorted(lines) == [f'007{i},"Lyon, Rhône",NA' for i in range(4)]


def test_a_client_keeps_one_sample_of_each_label_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y\n" + "".join(f"{i},{i // 4}\n" for i in range(40)))
    split(tmp_path / "data.csv", tmp_path / "out", target="y", clients=3, valid=0.9)
    for client in (1, 2, 3):
        folder = tmp_path / "out" / f"client-{client}"
        train, valid = (set(pd.read_csv(folder / f"{part}.csv").y) for part in ("train", "valid"))
        assert valid <= train


def test_the_part_to_evaluate_on_is_as_large_as_asked_for(tmp_path: Path) -> None:
    split("digits", tmp_path, clients=3, valid=0.25)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [client["valid"] for client in report["clients"].values()] == [150] * 3


def test_without_a_part_to_evaluate_on_there_is_no_such_file(tmp_path: Path) -> None:
    split("iris", tmp_path, clients=2, valid=0.0)
    assert not (tmp_path / "client-1" / "valid.csv").exists()
    assert ClientConfig.from_file(tmp_path / "client-1" / "client.toml").valid is None


def test_clients_of_classes_tell_them_and_clients_of_values_do_not(tmp_path: Path) -> None:
    for name, exposed in (("wine", True), ("diabetes", False)):
        split(name, tmp_path / name)
        table = tomllib.loads((tmp_path / name / "client-1" / "client.toml").read_text())
        assert table["train"].get("expose_classes", False) is exposed


def test_the_report_counts_what_is_in_the_files(tmp_path: Path) -> None:
    split("iris", tmp_path, clients=3, by="label", labels_per_client=2)
    clients = json.loads((tmp_path / "report.json").read_text())["clients"]
    for client, told in clients.items():
        parts = [pd.read_csv(tmp_path / client / f"{part}.csv") for part in ("train", "valid")]
        assert [told["train"], told["valid"]] == [len(part) for part in parts]
        found = pd.concat(parts)["target"].value_counts()
        assert told["labels"] == {str(label): int(found.get(label, 0)) for label in range(3)}


def test_the_report_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split("iris", tmp_path, clients=3, by="label", labels_per_client=1)
    printed, written = capsys.readouterr().out, (tmp_path / "report.txt").read_text()
    for part in ("iris: 150 samples for 3 clients, by label, labels per client 1, seed 0", "Heterogeneity 0.67"):
        assert part in printed
        assert part in written
    assert (tmp_path / "who-got-what.png").read_bytes().startswith(PNG)


def test_a_runs_file_knows_the_clients_and_their_data(tmp_path: Path) -> None:
    split("wine", tmp_path, clients=3)
    experiment = Experiment.from_file(tmp_path / "run.toml")
    assert [client.name for client in experiment.clients] == ["client-1", "client-2", "client-3"]
    assert sum(Dataset.load(describe(client.train)).n_samples for client in experiment.clients) == 142


@pytest.mark.parametrize(("labels", "told"), [("01", 1), (("0.0", "1.0"), 1), (("no", "yes"), "yes")])
def test_a_runs_file_measures_two_classes_by_the_label_that_clients_tell(
    tmp_path: Path, labels: tuple[str, str], told: int | str
) -> None:
    (tmp_path / "data.csv").write_text("x,y\n" + f"1,{labels[0]}\n2,{labels[1]}\n" * 9)
    split(tmp_path / "data.csv", tmp_path / "out", target="y", clients=2)
    (metric,) = tomllib.loads((tmp_path / "out" / "run.toml").read_text())["metrics"]
    assert metric == {"name": "binary-classif", "config": {"label": told}}
    assert type(metric["config"]["label"]) is type(told)


@pytest.mark.parametrize("kind", ["images", "text"])
def test_there_is_no_run_for_what_a_linear_model_cannot_take(tmp_path: Path, kind: str) -> None:
    if kind == "images":
        data, target, _ = arrays(tmp_path, ".npy")
    else:
        data, target = tmp_path / "data.csv", "y"
        data.write_text("city,y\n" + "Lyon,1\nLille,0\n" * 9)
    split(data, tmp_path / "out", target=target, clients=2)
    assert not (tmp_path / "out" / "run.toml").exists()


def test_force_leaves_nothing_of_an_earlier_split_and_keeps_what_is_not_of_it(tmp_path: Path) -> None:
    split("iris", tmp_path, clients=5)
    (tmp_path / "client-5" / "state").mkdir()
    (tmp_path / "client-5" / "state" / "ledger").write_text("kept")
    split("iris", tmp_path, clients=2, valid=0.0, force=True)
    assert sorted(path.parent.name for path in tmp_path.glob("*/*.csv")) == ["client-1", "client-2"]
    assert (tmp_path / "client-5" / "state" / "ledger").read_text() == "kept"


def test_force_deletes_nothing_outside_whatever_a_report_says(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text('{"files": ["../precious"]}')
    split("iris", tmp_path / "out", force=True)
    assert (tmp_path / "precious").read_text() == "kept"


def text_target(folder: Path) -> Path:
    path = folder / "data.csv"
    path.write_text("x,y\n" + "1,yes\n2,no\n" * 9)
    return path


MISTAKES: dict[str, tuple[Callable[[Path], Path | str], dict[str, Any], str]] = {
    "no such data set": (
        lambda _: "digit",
        {},
        "iris, wine; did you mean 'digits'?",
    ),
    "no such file": (lambda folder: folder / "none.csv", {}, "none.csv: no such file"),
    "no such column": (text_target, {"target": "z"}, "no column 'z', named by --target"),
    "another column of a data set": (lambda _: "iris", {"target": "species"}, "is named 'target'"),
    "unknown scheme": (lambda _: "iris", {"by": "lable"}, "--by lable: did you mean 'label'?"),
    "option of another scheme": (lambda _: "iris", {"alpha": 1.0}, "add --by dirichlet"),
    "too many clients": (
        lambda _: "iris",
        {"clients": 76},
        "150 samples are too few for 76 clients with at least 2 each",
    ),
    "labels without a target": (text_target, {"by": "label"}, "--by label needs labels: say with --target"),
    "labels to nobody": (lambda _: "digits", {"by": "label", "clients": 3}, "labels_per_client=4 or more"),
    "bins of text": (text_target, {"target": "y", "bins": 3}, "which has no quantiles"),
    "all to evaluate on": (lambda _: "iris", {"valid": 1.0}, "--valid 1.0: use a part from 0"),
    "negative seed": (lambda _: "iris", {"seed": -1}, "--seed -1"),
    "column of an array": (lambda folder: arrays(folder, ".npy")[0], {"target": "y"}, "has no columns, so give a file"),
    "target of svmlight": (lambda folder: arrays(folder, ".svmlight")[0], {"target": "y"}, "brings its own labels"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_words_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    data, options, message = MISTAKES[name]
    assert message in refused(data(tmp_path), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert "is not empty: choose another folder, or --force" in refused("iris", tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert "is a file" in refused("iris", tmp_path / "mine")


def test_a_missing_label_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y\n1,1\n2,\n3,0\n")
    assert "its target is missing in line 3" in refused(tmp_path / "data.csv", tmp_path / "out", target="y")


@pytest.mark.parametrize(
    ("target", "bins", "n_labels", "are_classes"),
    [
        (np.arange(60) % 50, None, 50, True),
        (np.arange(60) % 51, None, 10, False),
        (np.arange(60) % 51, 0, 51, True),
        (np.arange(60) / 4, None, 10, False),
        (np.arange(60) / 4, 0, 60, False),
        (np.arange(60) % 3, 2, 2, False),
        (np.array(["a", "b"] * 30), None, 2, True),
    ],
)
def test_many_and_broken_numbers_are_values_and_few_whole_ones_classes(
    target: Any, bins: int | None, n_labels: int, are_classes: bool
) -> None:
    labels = labels_of(target, bins)
    assert (len(labels.names), labels.are_classes) == (n_labels, are_classes)


def test_bins_are_named_by_the_values_in_them() -> None:
    assert labels_of(np.array([1.5, 2.0, 7.0, 9.0]), 2).names == ("1.5 to 2", "7 to 9")


def test_the_pictures_bars_are_as_long_as_the_counts() -> None:
    # Given two clients
    labels = labels_of(np.array([0, 0, 0, 1, 1]), None)
    shares = (Share("ant", np.array([0, 1]), np.array([3])), Share("bee", np.array([2]), np.array([4])))
    # When they are drawn
    (axes,) = shares_figure(Report("data", "at random", 0, shares, labels)).axes
    # Then each label is a colour that takes its counts, from where the one before it ends
    zero, one = axes.containers
    assert [bar.get_width() for bar in zero] == [2, 1]
    assert [(bar.get_x(), bar.get_width()) for bar in one] == [(2, 1), (1, 1)]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ant", "bee"]


def test_without_matplotlib_the_split_is_made_and_the_way_to_pictures_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    split("iris", tmp_path)
    assert "no picture: drawing who got what needs matplotlib: install fluffle[dashboard]" in capsys.readouterr().out
    assert (tmp_path / "report.json").exists()


def test_digits_are_split_by_a_command_and_trained_on_by_the_next(tmp_path: Path) -> None:
    def fluffle(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "fl.cli", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    # Given digits that five clients have unlike mixtures of
    made = fluffle("split", "digits", str(tmp_path / "shares"), "--by", "dirichlet", "--alpha", "0.3")
    assert made.returncode == 0, made.stderr
    assert f"Train on them here: fluffle quickrun {tmp_path}/shares/run.toml" in made.stdout
    # When the run is run that lies beside them
    ran = fluffle("quickrun", str(tmp_path / "shares" / "run.toml"), "--out", str(tmp_path / "out"))
    # Then it finishes, and knows most digits
    assert ran.returncode == 0, ran.stderr
    history = pd.read_csv(tmp_path / "out" / "history.csv")
    assert history["accuracy"].iloc[-1] > 0.85
