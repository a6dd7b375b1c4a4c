"""`python -m tests.bench.privacy_peer`: private training on the digits, declearn's and ours, side by side.

Both train the same network from the same weights on the same images at five sites alike, for as many rounds of Poisson
batches as large, at the same learning rates, for the same budget and with the same bound on a sample's gradient. What
they do without privacy says whether that is fair. How much noise either adds is measured where there is nothing else:
on images that are black, under a layer without bias, every gradient is 0.
declearn is installed under .venv-peers. Both train at once, so that seconds are told and say little.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch

from fl.core.device import set_device_policy
from fl.examples.digits.shares import N_LABELS, deal
from fl.examples.privacy import ALIKE, OWN, Task
from fl.examples.tables import placed
from tests.bench import privacy_ours
from tests.bench.privacy_table import NAME, OURS, PEER, Outcomes, line_of, table, to_json
from tests.bench.privacy_trial import Learned, Trial, write_samples, write_trials
from tests.bench.stage import ROOT, ContestantFailed, stage

RATES: Final = (0.01, 0.1, 0.5, 1.0)
DARK: Final = "dark.npz"
LIMIT_S: Final = 1800.0
PYTHON: Final = ROOT / ".venv-peers" / "declearn-private" / "bin" / "python"

Hear = Callable[[str, Trial, Learned], None]


def main() -> None:
    options = options_of(sys.argv[1:])
    if options.python == PYTHON:
        subprocess.run([ROOT / ".ci" / "need-peers", "declearn-private"], check=True)
    torch.set_num_threads(1)
    set_device_policy(gpu=False)
    outcomes: Outcomes = {}

    def hear(library: str, trial: Trial, learned: Learned) -> None:
        outcomes[library, trial] = learned
        print(line_of(library, trial, learned), flush=True)

    trials = trials_of(Task(), rates=options.rates, seeds=options.seeds)
    with TemporaryDirectory(prefix="fluffle-bench-") as folder:
        try:
            asyncio.run(compare(trials, Path(folder), options.python, hear))
        except ContestantFailed as error:
            sys.exit(f"FAILED: {error}")
    text = table(outcomes)
    print(f"\n{text}")
    if options.json:
        options.json.write_text(json.dumps(to_json(outcomes), indent=2) + "\n", "utf-8")
    if options.into:
        options.into.write_text(placed(NAME, text, options.into.read_text("utf-8")), "utf-8")


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.privacy_peer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="learning rates, one a column")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="accuracies are means over these")
    parser.add_argument(
        "--python", type=Path, default=PYTHON, help="of an environment that has declearn, torch, opacus"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--into", type=Path, help=f"put the table into this file, between its {NAME} markers")
    options = parser.parse_args(arguments)
    if options.into is not None:  # before minutes of measuring
        text = options.into.read_text("utf-8")
        for marker in (f"<!-- {NAME} -->\n", f"<!-- /{NAME} -->"):
            if marker not in text:
                parser.error(f"{options.into} has no place for the table: put a line {marker.strip()} where it belongs")
    return options


def trials_of(task: Task, *, rates: Sequence[float], seeds: Sequence[int]) -> list[Trial]:
    """Noise alone, and the digits without privacy and with it."""
    noise = Trial(**asdict(task) | {"lrate": 1.0}, file=DARK, dark=True, private=True, seed=0)
    return [
        noise,
        *(
            Trial(**asdict(task) | {"lrate": rate}, file=f"digits-{seed}.npz", dark=False, private=private, seed=seed)
            for private, seed, rate in itertools.product((False, True), seeds, rates)
        ),
    ]


async def compare(trials: Sequence[Trial], folder: Path, python: Path, hear: Hear) -> None:
    """All trials by both libraries at once, one beside the other. Raises `ContestantFailed`, `FluffleError`."""
    write_digits(folder, {trial.seed for trial in trials})
    write_trials(folder, trials)
    async with stage(folder, limit_s=LIMIT_S) as play, asyncio.TaskGroup() as both:
        both.create_task(ours(trials, folder, hear))
        peer = await play.script("declearn", "privacy_declearn", folder, python=python)
        for trial in trials:
            event = await play.next("learned")
            del event["what"]
            hear(PEER, trial, Learned(**event))
        await play.until_ended(peer)


async def ours(trials: Sequence[Trial], folder: Path, hear: Hear) -> None:
    for trial in trials:
        hear(OURS, trial, await asyncio.to_thread(privacy_ours.learn, trial, folder))


def write_digits(folder: Path, seeds: set[int]) -> None:
    """The images of each seed, and black ones of as many as a site has."""
    for seed in seeds:
        shares = deal(alpha=ALIKE, seed=seed)
        test = shares.test.images(OWN.form), shares.test.y
        sites = {name: (own.images(OWN.form), own.y) for name, own in shares.train.items()}
        write_samples(folder / f"digits-{seed}.npz", sites, test)
    n = len(shares.train["site-1"])
    black = np.zeros((n, 64), np.float32), np.arange(n) % N_LABELS
    write_samples(folder / DARK, {"dark": black}, black)


if __name__ == "__main__":
    main()
