"""What a run takes at the broker, by hand."""

from typing import Any

import pytest

from fl.core.layout import Layout, Role, TensorSpec
from fl.run.footprint import Footprint, footprint
from fl.run.spec import RunSpec

MIB = 2**20
LAYOUT = Layout(
    (TensorSpec("w", "float32", (MIB,), Role.TRAINABLE), TensorSpec("mean", "float32", (MIB,), Role.BUFFER))
)
"""Two tensors of 4 MiB each."""


def spec_of(optim: dict[str, Any] | None = None, **run: Any) -> RunSpec:
    tables = {
        "model": {"kind": "sklearn-sgd", "config": {"kind": "regressor"}},
        "optim": {"client_opt": 0.1, **(optim or {})},
        "run": {"rounds": 1, "training": {"batch_size": 1}, **run},
    }
    return RunSpec.parse(tables, "the test")


@pytest.mark.parametrize(
    ("spec", "expected_mib"),
    [
        (spec_of(), 3 * 8 + 5 + 4 * 8),
        (spec_of(evaluate=False), 2 * 8 + 5 + 4 * 8),
        (spec_of(sampling=0.5), 3 * 8 + 5 + 2 * 8),
        (spec_of(shards=2), 3 * 8 + 5 + 4 * 8 + 2 * 2 * 8),
        (spec_of(sampling=100), 3 * 8 + 5 + 4 * 8),
        (spec_of(compression="bf16"), 3 * 8 + 2 * (2 + 4) + 5 + 4 * (2 + 4)),
        (
            spec_of({"client_opt": {"lrate": 0.1, "modules": ["scaffold-client"]}}
                    | {"server_opt": {"lrate": 1.0, "modules": ["scaffold-server"]}}),
            3 * 8 + 5 + 4 * 3 * 8,
        ),
    ],
    ids=["plain", "no evaluations", "half of the clients", "shards", "more than there are", "compressed", "scaffold"],
)  # fmt: skip
def test_a_run_takes_weights_of_rounds_and_an_update_of_each_client_asked(spec: RunSpec, expected_mib: int) -> None:
    assert footprint(spec, LAYOUT, fixed=5 * MIB, n_clients=4).total == expected_mib * MIB


def test_what_is_as_large_as_the_quota_is_not_too_much() -> None:
    exactly = Footprint(MIB, copies=3, fixed=0, update=MIB, clients=2)

    assert exactly.excess(5) is None
    assert exactly.excess(4) is not None


def test_what_is_too_much_is_told_with_all_its_figures_and_what_to_do() -> None:
    takes = Footprint(2000 * MIB, copies=3, fixed=1, update=1000 * MIB, clients=8, sums=MIB, rounded=MIB)

    assert takes.excess(9000) == (
        "with 8 clients in a round this run takes 14003 MiB at the broker (weights of 3 rounds, each 2000 MiB, 1 MiB "
        "of them compressed, and an update of 1000 MiB from each client, 1 MiB that no round changes, 1 MiB of sums "
        "that shards make), where one run may take 9000 MiB: ask fewer clients in a round (run.sampling), let updates "
        "be compressed (run.compression), or have whoever runs the broker raise it (`fluffle quota`)"
    )
