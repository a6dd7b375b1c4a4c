"""Leading one run from where it was submitted."""

import time

from broker.base import Session
from broker.threads import in_thread
from fl.log import get_log
from fl.server.leader import Seat
from fl.server.worker import attend
from fl.submit.submission import Submission


async def lead_here(session: Session, submission: Submission) -> None:
    """Stand by this run and no other until it is over, and lead it unless another worker does."""
    seat = Seat(session, f"submitter {submission.sender}", time.time, get_log("fl.server"))
    await attend(seat, await in_thread(submission.announced))  # it makes digests of all weights
