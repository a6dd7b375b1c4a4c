"""What a trainer's process is told before it imports a framework."""

import json
import os
import subprocess
import sys

import pytest

from fl.client.config import AllowConfig, DeviceConfig
from fl.client.setup import new_setup
from fl.wire.trainer_pb2 import TrainerSetup

LOOK = """
import json, os, sys
from fl.client import trainer_process
from fl.core.doors import get_doors
from fl.wire.trainer_pb2 import TrainerSetup
policy = trainer_process._prepare(TrainerSetup.FromString(bytes.fromhex(sys.argv[1])))
doors = get_doors()
print(json.dumps({
    "environment": dict(os.environ),
    "policy": [policy.gpu, policy.idx],
    "factories": doors.factories,
    "pickle": doors.pickle,
    "frameworks": sorted({"torch", "tensorflow", "keras"} & set(sys.modules)),
}))
"""


def prepared(setup: TrainerSetup, **environment: str) -> dict[str, object]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CUDA", "OMP", "TF", "KERAS"))}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, setup.SerializeToString().hex()],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(looked.stdout)
    return found


def setup_of(device: DeviceConfig, allow: AllowConfig | None = None) -> TrainerSetup:
    return new_setup("ant", None, None, device=device, share_metrics=True, allow=allow)


def test_a_site_without_gpus_shows_none_to_its_trainers() -> None:
    found = prepared(setup_of(DeviceConfig(gpu=False)), CUDA_VISIBLE_DEVICES="0,1")

    assert found["environment"]["CUDA_VISIBLE_DEVICES"] == ""  # type: ignore[index]  # it is a table
    assert found["policy"] == [False, None]


def test_a_trainer_sees_the_gpu_of_its_site_as_the_first() -> None:
    found = prepared(setup_of(DeviceConfig(idx=1)), CUDA_VISIBLE_DEVICES="4,7")

    assert found["environment"]["CUDA_VISIBLE_DEVICES"] == "7"  # type: ignore[index]  # it is a table
    assert found["policy"] == [True, 0]


@pytest.mark.parametrize(("threads", "expected"), [(3, "3"), (None, None)])
def test_a_trainer_computes_with_as_many_threads_as_its_site_says(threads: int | None, expected: str | None) -> None:
    found = prepared(setup_of(DeviceConfig(threads=threads)))

    assert found["environment"].get("OMP_NUM_THREADS") == expected  # type: ignore[attr-defined]  # it is a table


def test_threads_of_a_trainer_do_not_spin_unless_the_site_wants_them_to() -> None:
    assert prepared(setup_of(DeviceConfig()))["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"  # type: ignore[index]  # a table
    wanted = prepared(setup_of(DeviceConfig()), OMP_WAIT_POLICY="ACTIVE")
    assert wanted["environment"]["OMP_WAIT_POLICY"] == "ACTIVE"  # type: ignore[index]  # likewise


def test_a_trainer_opens_the_doors_of_its_site_and_ours() -> None:
    found = prepared(setup_of(DeviceConfig(), AllowConfig(factories=["mylab.nets:*"], pickle=True)))

    assert found["factories"] == ["fl.examples.*:*", "mylab.nets:*"]
    assert found["pickle"] is True


def test_no_framework_is_imported_before() -> None:
    assert prepared(setup_of(DeviceConfig()))["frameworks"] == []
