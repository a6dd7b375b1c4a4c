"""What a trainer's process sees of a machine's GPUs."""

from pathlib import Path

import pytest

from fl.client.gpu import count_gpus, only_gpu
from fl.core.device import DevicePolicy

CPU = DevicePolicy(gpu=False)
ANY = DevicePolicy()


def named(idx: int) -> DevicePolicy:
    return DevicePolicy(gpu=True, idx=idx)


@pytest.mark.parametrize(
    ("policy", "visible", "n_gpus", "sees", "within"),
    [
        pytest.param(CPU, None, 4, "", CPU, id="a site that uses no GPU sees none"),
        pytest.param(CPU, "2,3", 4, "", CPU, id="also where some were visible"),
        pytest.param(ANY, None, 4, "0", ANY, id="the first"),
        pytest.param(ANY, "2,3", 4, "2", ANY, id="the first that was visible"),
        pytest.param(named(3), None, 4, "3", named(0), id="the one that is named, which is then the only one"),
        pytest.param(named(1), "2,3", 4, "3", named(0), id="an index counts what was visible"),
        pytest.param(named(0), "GPU-8932f937,GPU-46c54d7c", 2, "GPU-8932f937", named(0), id="names are kept"),
        pytest.param(named(7), None, 4, None, named(7), id="one that is not there hides nothing"),
        pytest.param(ANY, None, 0, None, ANY, id="a machine without GPUs"),
        pytest.param(ANY, "", 4, "", ANY, id="a daemon that was given none"),
    ],
)
def test_a_trainer_sees_its_own_gpu_and_no_other(
    policy: DevicePolicy, visible: str | None, n_gpus: int, sees: str | None, within: DevicePolicy
) -> None:
    assert only_gpu(policy, visible=visible, n_gpus=n_gpus) == (sees, within)


def test_gpus_are_counted_where_the_driver_lists_them(tmp_path: Path) -> None:
    for address in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / address).mkdir()

    assert count_gpus(tmp_path) == 2


def test_without_a_driver_there_are_none(tmp_path: Path) -> None:
    assert count_gpus(tmp_path / "none") == 0
