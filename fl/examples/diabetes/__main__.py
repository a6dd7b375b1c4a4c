"""`python -m fl.examples.diabetes`: regression at six clinics, compared with training in one place and alone."""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from uuid import uuid4

import numpy as np

from broker.local import LocalRabbit
from fl.examples.diabetes.clinics import CREDIT, load_clinics
from fl.examples.diabetes.study import MODELS, Result, compare, spec_of
from fl.utils import set_device_policy


def main() -> None:
    """Print one line as soon as it is known for each framework, as a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m fl.examples.diabetes", description=__doc__)
    parser.add_argument("--frameworks", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=40, help="rounds of one epoch")
    parser.add_argument("--clinics", type=int, default=6)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="the figures are means over these")
    parser.add_argument("--broker", action="store_true", help="through a private RabbitMQ, not in this process")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow speaks of its CPU build
    set_device_policy(gpu=False)
    with ExitStack() as stack:
        url = stack.enter_context(LocalRabbit()).url if asked.broker else f"memory://{uuid4().hex}"
        table = study(asked.frameworks, url, clinics=asked.clinics, rounds=asked.rounds, seeds=asked.seeds)
        for line in table:
            print(line, flush=True)  # noqa: T201  # the command's output
    print(f"\nR² on patients held out, means over the seeds {asked.seeds}. Data: {CREDIT}.")  # noqa: T201  # likewise


def study(frameworks: Sequence[str], url: str, *, clinics: int, rounds: int, seeds: Sequence[int]) -> Iterator[str]:
    """The table, line by line."""
    yield "| framework | one federated model | all patients in one place | a clinic's own model |"
    yield "| --- | --- | --- | --- |"
    for framework in frameworks:
        results = [_result(framework, url, clinics=clinics, rounds=rounds, seed=seed) for seed in seeds]
        means = (np.mean([getattr(one, part) for one in results]) for part in ("federated", "central", "alone"))
        yield f"| {framework} | {' | '.join(f'{mean:.3f}' for mean in means)} |"


def _result(framework: str, url: str, *, clinics: int, rounds: int, seed: int) -> Result:
    spec = spec_of(framework, clinics=clinics, rounds=rounds, seed=seed)
    return asyncio.run(compare(url, spec, *load_clinics(clinics, seed=seed)))


if __name__ == "__main__":
    main()
