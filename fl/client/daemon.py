"""The client daemon: joins runs, and answers their leaders; acknowledges a request once its reply is confirmed."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from broker import topology
from broker.base import Delivery, Session, Subscription
from broker.errors import AccessRefused, NotFound, Retryable, Unroutable
from broker.topology import MARKER
from fl import __version__
from fl.client.letters import Letter, open_letter
from fl.client.part import Part
from fl.client.site import Site
from fl.errors import BadMessage, ConfigError
from fl.tasks import together
from fl.wire.envelope import Body, OtherProtocol, seal, what, wrap
from fl.wire.messages_pb2 import Error, JoinRequest
from fl.wire.runs import Closed, Submitted, read_announcement

PREFETCH = 64
LOOK_EVERY_S = 0.5
"""How often a daemon on standby looks whether the one before it is gone."""
GHOST_S = 12.0
"""How long a connection that was cut may seem to be there: two heartbeats, and a little."""

FAREWELL_S = 5.0
"""How long the farewell of a run, which brings its weights, may come after the news that it is closed."""


class NameInUse(ConfigError):
    """A daemon of this name is connected already, and this one is not to stand by."""


async def serve(site: Site, session: Session) -> None:
    """Serve every run until `site.leave_after` have ended, or the session is lost.

    Raises `NameInUse`, and `AccessRefused` where this site is not enrolled.
    """
    daemon = Daemon(site, session)
    await daemon.serve()


class Daemon:
    """One session's worth of a daemon: all that it holds is gone with the session, and comes again."""

    def __init__(self, site: Site, session: Session) -> None:
        self._site = site
        self._session = session
        self._log = site.log
        self._queue = topology.client_queue(site.name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._desks: dict[str, asyncio.Queue[Letter | None]] = {}
        self._waiting: deque[str] = deque()
        """Runs to join as soon as one of those served ends."""
        self._ended = 0
        self._enough = asyncio.Event()

    async def serve(self) -> None:
        await self._find_queue()
        await self._await_turn()
        requests = await self._session.consume(self._queue, prefetch=PREFETCH)
        async with requests, together() as group:
            self._group = group
            for job in (self._announcements(), self._requests(requests)):
                self._start(job)
            await self._enough.wait()
            for task in self._tasks:
                task.cancel()

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_queue(self) -> None:
        """Enrolment has made the queue; where users may do everything, as in development, make it here."""
        try:
            await self._session.count(self._queue)
        except NotFound:
            try:
                await self._session.declare(*topology.base(), *topology.client(self._site.name))
            except AccessRefused as error:
                raise AccessRefused(
                    f"no queue for client {self._site.name!r}: has it been enrolled? ({error})"
                ) from None

    async def _await_turn(self) -> None:
        """Wait until nobody else consumes this site's queue: a broker does not count those who wait behind one.

        What a daemon that lost its connection had consumed may still count for some seconds, this one's own included.
        """
        waited_s = 0.0
        while (await self._session.count(self._queue)).consumers:
            if not self._site.standby and waited_s >= GHOST_S:
                raise NameInUse(
                    f"a daemon named {self._site.name!r} is connected already: stop it, choose another name, or "
                    "set standby = true to take its place when it leaves"
                )
            if not waited_s:
                reason = "a daemon of this name is connected already"
                self._log.warning("standing_by", name=self._site.name, reason=reason)
            await asyncio.sleep(LOOK_EVERY_S)
            waited_s += LOOK_EVERY_S
        if waited_s:
            self._log.info("taking_over", name=self._site.name)

    # ---- runs ------------------------------------------------------------------------------------------------------

    async def _announcements(self) -> None:
        self._log.info("ready", name=self._site.name, version=__version__)
        async with await self._session.read(topology.RUNS.name) as announcements:
            async for delivery in announcements:
                await delivery.ack()
                if delivery.message.type == MARKER:
                    continue
                try:
                    await self._on_announcement(read_announcement(delivery.message))
                except BadMessage as error:
                    self._log.warning("announcement_ignored", reason=error)

    async def _on_announcement(self, announcement: Submitted | Closed) -> None:
        run = announcement.run
        if isinstance(announcement, Closed):
            if run in self._waiting:
                self._waiting.remove(run)
            if run in self._desks:
                self._desks[run].put_nowait(None)
        elif len(self._desks) < self._site.max_runs:
            await self._join(run)
        else:
            self._waiting.append(run)

    async def _join(self, run: str) -> bool:
        """Ask to take part; whether the run is still there to be asked."""
        request = JoinRequest(data_info=self._site.data_info, versions={"fluffle": __version__})
        if not await self._send(run, request):
            return False
        self._open_desk(run)
        self._log.info("asked_to_join", run=run)
        return True

    def _open_desk(self, run: str) -> "asyncio.Queue[Letter | None]":
        if run not in self._desks:
            self._desks[run] = asyncio.Queue()
            self._start(self._serve_run(run, self._desks[run]))
        return self._desks[run]

    # ---- requests --------------------------------------------------------------------------------------------------

    async def _requests(self, requests: Subscription) -> None:
        async for delivery in requests:
            try:
                letter = open_letter(delivery)
            except OtherProtocol as error:
                await self._refuse(delivery, error)
            except BadMessage as error:
                await self._reject(delivery, str(error))
            else:
                self._open_desk(letter.run).put_nowait(letter)

    async def _serve_run(self, run: str, letters: "asyncio.Queue[Letter | None]") -> None:
        part = Part(self._site, self._session, run)
        try:
            patience_s = None
            while not part.over:
                try:
                    async with asyncio.timeout(patience_s):
                        letter = await letters.get()
                except TimeoutError:
                    break
                if letter is None:  # the run is closed; its leader has said farewell, by another way
                    patience_s = FAREWELL_S if part.took_part else 0.0
                else:
                    await self._handle(part, run, letter)
        finally:
            await part.close()
            del self._desks[run]
        while not letters.empty():  # what came while the part closed is for another one
            letter = letters.get_nowait()
            if letter is not None:
                self._open_desk(run).put_nowait(letter)
        self._ended += part.took_part
        if self._site.leave_after is not None and self._ended >= self._site.leave_after:
            self._enough.set()
            return
        while self._waiting and not await self._join(self._waiting.popleft()):
            pass  # that one is over already

    async def _handle(self, part: Part, run: str, letter: Letter) -> None:
        """Answer one request; it is acknowledged last."""
        try:
            reply = await part.answer(letter.request)
        except Retryable:
            raise
        except Exception as error:  # an error of ours must not end the daemon's other runs
            self._log.exception("request_failed", run=run)
            reply = Error(code=Error.Code.FAILED, text=f"{type(error).__name__}: {error}")
        if reply is not None and not await self._send(run, reply, answers=letter.delivery):
            part.over = True
        await letter.delivery.ack()

    async def _refuse(self, delivery: Delivery, error: OtherProtocol) -> None:
        """Tell a leader of another protocol so, in words."""
        run = topology.Key.parse(delivery.routing_key).run
        self._log.warning("request_refused", run=run, reason=error)
        await self._send(run, Error(code=Error.Code.VERSION, text=str(error)), answers=delivery)
        await delivery.ack()

    async def _reject(self, delivery: Delivery, reason: str) -> None:
        """Move a message that makes no sense to the dead letters, and say why."""
        self._log.warning("message_rejected", key=delivery.routing_key, reason=reason)
        await delivery.reject()

    async def _send(self, run: str, body: Body, *, answers: Delivery | None = None) -> bool:
        """Send to the run's leader; whether the run is still there to hear it."""
        envelope = wrap(run, self._site.name, body, now=self._site.clock())
        request = "" if answers is None else answers.message.message_id
        message = seal(envelope, user=self._session.user, correlation_id=request)
        key = topology.Key(run, self._site.name, what(body))
        try:
            await self._session.publish(message, exchange=topology.UP.name, routing_key=str(key))
        except Unroutable:
            return False
        return True
