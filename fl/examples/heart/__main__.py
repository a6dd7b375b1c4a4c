"""`python -m fl.examples.heart FOLDER`: the example as files, for `fluffle quickrun` and `fluffle client`."""

import argparse
from pathlib import Path

from fl.examples.heart.folder import FRAMEWORKS, write_example
from fl.examples.heart.hospitals import CREDIT, load_hospitals


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fl.examples.heart", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="which patients are held out, and the order of batches")
    parser.add_argument("--framework", choices=FRAMEWORKS, default="scikit-learn", help="whose model the run trains")
    asked = parser.parse_args()
    run = write_example(load_hospitals(asked.seed), asked.folder, framework=asked.framework, seed=asked.seed)
    print(f"{CREDIT}.\nNow: fluffle quickrun {run}")  # noqa: T201  # the command's output


if __name__ == "__main__":
    main()
