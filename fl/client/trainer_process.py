"""The trainer's process: the framework, the data and the GPU are here, and nowhere else at the site.

Started by the daemon as `python -m fl.client.trainer_process`. It ends when the daemon closes its pipe, so that it
never outlives it.
"""

import logging
import os
import signal
import sys

from fl.client.desk import Desk
from fl.client.frames import read_frame, write_frame
from fl.client.gpu import count_gpus, only_gpu
from fl.core.device import DevicePolicy
from fl.core.model.doors import OURS, Doors, set_doors
from fl.wire.trainer_pb2 import TrainerCall, TrainerSetup


def main() -> None:
    """Answer calls from standard input until it closes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the daemon, which then closes the pipe
    # What a framework prints must not get between the frames: from here on standard output is standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls, desk = sys.stdin.buffer, Desk(on_setup=_prepare)
    while (frame := read_frame(calls)) is not None:
        write_frame(answers, desk.answer(TrainerCall.FromString(frame)).SerializeToString())


def _prepare(setup: TrainerSetup) -> DevicePolicy:
    """Before any framework is imported: let in what the site allows, and see no GPU but its own."""
    set_doors(Doors((OURS, *setup.allow_factories), setup.allow_pickle))
    policy = DevicePolicy(setup.gpu, setup.idx if setup.HasField("idx") else None)
    visible, policy = only_gpu(policy, visible=os.environ.get("CUDA_VISIBLE_DEVICES"), n_gpus=count_gpus())
    os.environ.update({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"})
    # threads that spin while they wait take the cores from the trainers of other runs: three of a small network that
    # share two cores are three times as fast without
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if setup.HasField("threads"):
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(setup.threads)))
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return policy


if __name__ == "__main__":
    main()
