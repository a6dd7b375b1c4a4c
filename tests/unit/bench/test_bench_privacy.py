"""What `python -m tests.bench.privacy_peer` makes of what two libraries trained."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch

from fl.examples.privacy import Task
from tests.bench.privacy_ours import learn
from tests.bench.privacy_peer import DARK, options_of, trials_of, write_digits
from tests.bench.privacy_table import NAME, OURS, PEER, Outcomes, line_of, table, to_json
from tests.bench.privacy_trial import Learned, Samples, Trial, read_samples, read_trials, write_samples, write_trials

DIM: Final = Task(rounds=2, n_epoch=1, batch_size=8)
TRIAL: Final = Trial(**asdict(Task()), file="digits-0.npz", dark=False, private=True, seed=0)


def learned(accuracy: float, epsilon: float | None = None, update_std: float = 0.5) -> Learned:
    return Learned(accuracy, 120, update_std, 1.0, epsilon)


def outcomes() -> Outcomes:
    """Two rates and two seeds by each library, without privacy and with it."""
    known: Outcomes = {}
    for trial in trials_of(Task(), rates=(0.1, 1.0), seeds=(0, 1)):
        for library in (OURS, PEER):
            right = (0.4 if library == OURS else 0.2) * trial.lrate + 0.1 * trial.seed
            spent = 7.5 + 0.25 * trial.seed if trial.private else None
            known[library, trial] = learned(right, spent, 0.0354321 if library == OURS else 2.27)
    return known


def cells(text: str, begin: str) -> list[str]:
    """What a line of a table has after its first cell."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {begin} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """What we make of images that are black, where no gradient is but 0."""
    folder = tmp_path_factory.mktemp("dark")
    write_digits(folder, {0})
    return learn(replace(TRIAL, **asdict(DIM), file=DARK, dark=True), folder)


def test_accuracies_are_means_over_seeds_with_a_column_for_each_rate() -> None:
    # 0.4 · rate + 0.1 · seed, for seeds 0 and 1
    assert cells(table(outcomes()), OURS)[2:] == ["0.090", "**0.450**"]


def test_the_best_rate_of_each_line_is_bold() -> None:
    known = outcomes()
    for library, trial in known:
        if library == PEER and trial.lrate == 0.1:
            known[library, trial] = learned(0.99, 7.5)

    assert cells(table(known), PEER)[2:] == ["**0.990**", "0.250"]


def test_the_table_has_the_epsilon_of_whoever_has_spent_most() -> None:
    assert cells(table(outcomes()), PEER)[0] == "7.75"


def test_the_table_has_the_noise_that_was_measured_where_there_is_nothing_else() -> None:
    known = outcomes()

    assert [cells(table(known), library)[1] for library in (OURS, PEER)] == ["0.0354", "2.27"]


def test_lines_without_privacy_have_neither_epsilon_nor_noise() -> None:
    assert cells(table(outcomes()), f"{OURS}, without privacy")[:2] == ["-", "-"]


def test_what_was_measured_can_be_read_as_json() -> None:
    known = outcomes()

    said = json.loads(json.dumps(to_json(known)))

    assert len(said) == len(known)
    assert {"library", "lrate", "seed", "private", "accuracy", "epsilon", "update_std"} <= said[0].keys()


def test_a_trial_is_told_with_its_rate_its_seed_and_what_it_reached() -> None:
    line = line_of(PEER, replace(TRIAL, lrate=0.25, seed=2), learned(0.6125, 7.99))

    assert "epsilon 7.990, rate 0.25, seed 2, right 0.613" in line


def test_trials_come_back_from_the_file_as_they_were_written(tmp_path: Path) -> None:
    trials = trials_of(Task(), rates=(0.1, 1.0), seeds=(0, 1))

    write_trials(tmp_path, trials)

    assert list(read_trials(tmp_path)) == trials


def test_samples_come_back_by_site_and_those_to_test_with_apart(tmp_path: Path) -> None:
    ones: Samples = np.ones((2, 3), np.float32), np.arange(2)
    twos: Samples = np.full((1, 3), 2, np.float32), np.arange(1)

    write_samples(tmp_path / "some.npz", {"site-1": ones}, twos)
    sites, test = read_samples(tmp_path / "some.npz")

    assert sites.keys() == {"site-1"}
    for written, read in ((ones, sites["site-1"]), (twos, test)):
        for one, same in zip(written, read, strict=True):
            assert np.array_equal(one, same)
            assert one.dtype == same.dtype


def test_the_standard_deviation_is_of_all_steps_over_the_rate() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 3.0, (50, 2000))

    got = Learned.of_steps([np.mean((0.1 * one) ** 2) for one in noise], lrate=0.1, accuracy=0.0, seconds=0.0)

    assert got.steps == 50
    assert got.update_std == pytest.approx(np.sqrt(np.mean(noise**2)))


def test_all_sites_and_both_libraries_begin_with_the_same_weights() -> None:
    one, another = (TRIAL.network()[0].state_dict() for _ in range(2))

    assert all(torch.equal(one[name], another[name]) for name in one)


def test_in_the_dark_our_updates_are_the_noise_that_the_budget_needs(dark: Learned) -> None:
    assert dark.noise_multiplier is not None
    # sigma·C/B, as far as 640 numbers in each of 50 steps tell
    assert dark.update_std == pytest.approx(dark.noise_multiplier * DIM.sclip_norm / DIM.batch_size, rel=0.03)


def test_what_our_runs_account_is_their_budget(dark: Learned) -> None:
    assert dark.epsilon is not None
    assert 0.99 * DIM.epsilon < dark.epsilon <= DIM.epsilon


def test_our_runs_count_the_steps_of_one_site(tmp_path: Path) -> None:
    write_digits(tmp_path, {0})

    got = learn(replace(TRIAL, rounds=2, n_epoch=1, private=False), tmp_path)

    assert got.steps == 2 * (215 // 64)


def test_a_text_without_a_place_for_the_table_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.md"
    text.write_text(f"<!-- {NAME} -->\n", "utf-8")

    with pytest.raises(SystemExit):
        options_of(["--into", str(text)])

    assert f"put a line <!-- /{NAME} --> where it belongs" in capsys.readouterr().err
