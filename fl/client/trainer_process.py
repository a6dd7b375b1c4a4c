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
from fl.wire.trainer_pb2 import TrainerCall


def main() -> None:
    """Answer calls from standard input until it closes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the daemon, which then closes the pipe
    # What a framework prints must not get between the frames: from here on standard output is standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls, desk = sys.stdin.buffer, Desk()
    while (frame := read_frame(calls)) is not None:
        write_frame(answers, desk.answer(TrainerCall.FromString(frame)).SerializeToString())


if __name__ == "__main__":
    main()
