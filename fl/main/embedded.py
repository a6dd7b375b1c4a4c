"""A whole run in one process: a worker, the daemons and an observer, each with its own session of one broker."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from broker.base import Session
from fl.client.daemon import serve as serve_client
from fl.client.site import Site
from fl.main.lead import lead_here
from fl.main.outcome import Outcome, outcome_of
from fl.run.spec import RunSpec
from fl.submit.history import Happened, follow
from fl.submit.submission import Submission, submit
from fl.tasks import together

Open = Callable[[str], Awaitable[Session]]
"""Opens a session for the party of that name."""


LEAVE_WITHIN_S = 5.0
"""How long a daemon may take over its farewell; one that the run refused does not know that it is over."""


async def run_embedded(
    submission: Submission,
    sites: Iterable[Site],
    open_session: Open,
    *,
    on_event: Callable[[Happened], None] = lambda _: None,
) -> Outcome:
    """Run to the end. The broker may be the one of this process or any other."""
    submission = replace(submission, spec=_impatient(submission.spec))
    owner = await open_session("owner")
    await submit(owner, submission)
    sessions = [owner, worker := await open_session("worker")]
    async with together() as group:
        group.create_task(lead_here(worker, submission))
        daemons = []
        for site in sites:
            sessions.append(await open_session(site.name))
            daemons.append(group.create_task(serve_client(replace(site, leave_after=1), sessions[-1])))
        async for happened in follow(owner, submission.run, submission.spec):
            on_event(happened)
        _, late = await asyncio.wait(daemons, timeout=LEAVE_WITHIN_S)
        for daemon in late:
            daemon.cancel()
    outcome = await outcome_of(owner, submission.run, submission.spec)
    for session in sessions:
        await session.close()
    return outcome


def _impatient(spec: RunSpec) -> RunSpec:
    """The same run, without waiting for clients to come back where it was not said how long: all of them are here."""
    if spec.run.patience is not None:
        return spec
    return spec.model_copy(update={"run": spec.run.model_copy(update={"patience": 0.0})})
