"""Leading one run from where it was submitted."""

import time

from broker.base import Session
from fl.log import get_log
from fl.server.leader import Seat
from fl.server.worker import attend
from fl.submit.submission import Submission
from fl.wire.runs import Submitted
from fl.wire.tensors import parcel


async def lead_here(session: Session, submission: Submission) -> None:
    """Stand by this run and no other until it is over, and lead it unless another worker does."""
    seat = Seat(session, f"submitter {submission.sender}", time.time, get_log("fl.server"))
    weights = None if submission.weights is None else parcel(submission.tensors(submission.weights))
    await attend(seat, Submitted(submission.run, submission.spec, weights))
