"""`python -m fl.examples.scripts.client amqp://… hospitals/cleveland`: one hospital takes part in the next run.

What is trained comes with the run; nothing here says which framework it is of.
"""

import sys
from pathlib import Path

import fl
from fl.communication import NetworkClientConfig


def run_client(netwk: NetworkClientConfig, home: Path) -> None:
    """Train on the CSV files in `home`; the weights that the run leaves are in `home/outputs`."""
    train = fl.dataset.InMemoryDataset(home / "train.csv", target="disease", expose_classes=True)
    valid = fl.dataset.InMemoryDataset(home / "valid.csv", target="disease")
    client = fl.main.FederatedClient(netwk, train, valid, checkpoint=home / "outputs", state=home / "state")
    client.run()


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    run_client(NetworkClientConfig(protocol="rabbitmq", uri=sys.argv[1], name=folder.name), folder)
