"""The client daemon: joins runs, and answers their leaders; acknowledges a request once its reply is confirmed."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from broker import topology
from broker.base import Delivery, Session
from broker.errors import NotFound, Rejected, Retryable, SubscriptionLost, Unroutable
from broker.topology import MARKER
from fl import __version__
from fl.client.drain import Drain
from fl.client.inbox import Inbox, settle
from fl.client.letters import Hint, Letter, failure, open_letter
from fl.client.site import Site
from fl.client.turn import await_turn
from fl.errors import BadMessage
from fl.tasks import together
from fl.wire.envelope import Body, OtherProtocol, seal, what, wrap
from fl.wire.messages_pb2 import Error, JoinReply, JoinRequest, StopRequest, TrainReply, TrainRequest, WeightsAhead
from fl.wire.runs import Closed, Opened, read_news

if TYPE_CHECKING:
    from fl.client.part import Part

PREFETCH: Final = 64
FAREWELL_S: Final = 5.0
"""How long the farewell of a run, which brings its weights, may come after the news that it is closed."""


class Gone(Retryable):
    """This site's queue, or the stream of all runs, is not there; a new session makes it again, or says what to do."""


async def serve(site: Site, session: Session, drain: Drain | None = None) -> None:
    """Serve every run until `site.leave_after` have ended, `drain` begins, or the session is lost.

    Raises `NameInUse`, and `AccessRefused` where this site is not enrolled.
    """
    drain = drain or Drain()
    try:
        await Daemon(site, session, drain).serve()
    except Retryable:
        if not drain.wanted:
            raise  # else nothing is left to finish: what was in work went back with the session


class Daemon:
    """One session's worth of a daemon: all that it holds is gone with the session, and comes again."""

    def __init__(self, site: Site, session: Session, drain: Drain) -> None:
        self._site = site
        self._session = session
        self._drain = drain
        self._log = site.log
        self._queue = topology.client_queue(site.name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._inboxes: dict[str, Inbox] = {}
        self._in_work: set[str] = set()
        """Runs of which a request is being answered."""
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._asking: set[str] = set()
        """Runs that are being asked whether this site may join: the answer may come before the broker's confirm."""
        self._asked: set[str] = set()
        """Runs that this session has asked."""
        self._waiting: deque[str] = deque()
        """Runs to join as soon as one of those served ends."""
        self._ended = 0
        self._enough = asyncio.Event()

    async def serve(self) -> None:
        await await_turn(self._site, self._session)
        with self._drain.heard():
            async with together() as group:
                self._group = group
                self._start(self._keep_reading(topology.RUNS.name, self._announcements))
                self._start(self._keep_reading(self._queue, self._requests))
                self._start(self._end_when_drained())
                await self._enough.wait()
                for task in self._tasks:
                    task.cancel()

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_reading(self, name: str, read: Callable[[], Awaitable[None]]) -> None:
        """Subscribe again where the broker ends a subscription alone: trainers, and what they work on, stay.

        It does so when a request takes longer than it waits for an acknowledgement, and delivers that again.
        """
        while True:
            try:
                await read()
            except SubscriptionLost as error:
                self._log.warning("subscribing_again", reason=error)
            except NotFound as error:
                raise Gone(str(error)) from None
            else:
                raise Gone(f"{name} was deleted while this daemon read it")

    async def _end_when_drained(self) -> None:
        """Answer what is in work, once it is time to go; everything else goes back when the session is closed."""
        await self._drain.wait()
        self._log.info("draining", requests=len(self._in_work), at_most_s=self._site.drain_s)
        try:
            async with asyncio.timeout(self._site.drain_s):
                await self._at_rest.wait()
        except TimeoutError:
            self._log.warning("handed_back", requests=len(self._in_work))
        self._enough.set()

    # ---- runs ------------------------------------------------------------------------------------------------------

    async def _announcements(self) -> None:
        """Join runs, whatever they are about: a trainer reads their specs, and says what it does not understand.

        To read them here would load all that runs need, also where all of them are over.
        """
        async with await self._session.read(topology.RUNS.name) as announcements:
            async for delivery in announcements:
                await settle(delivery)
                if delivery.message.type == MARKER:
                    continue
                try:
                    announcement = read_news(delivery.message)
                except BadMessage as error:
                    self._log.warning("announcement_ignored", reason=error)
                except Exception:  # it comes again at every start, and must not end the daemon each time
                    self._log.exception("announcement_ignored", reason="an error of ours, see below")
                else:
                    await self._on_announcement(announcement)

    async def _on_announcement(self, announcement: Opened | Closed) -> None:
        run = announcement.run
        if isinstance(announcement, Closed):
            if run in self._waiting:
                self._waiting.remove(run)
            if run in self._inboxes:
                self._inboxes[run].close()
        elif run in self._asked or run in self._waiting:
            pass  # read again, after the loss of the subscription
        elif run in self._inboxes or len(self._inboxes) < self._site.max_runs:
            await self._join(run)
        else:
            self._waiting.append(run)

    async def _join(self, run: str) -> bool:
        """Ask to take part; whether the run is still there to be asked."""
        if self._drain.wanted:
            return True
        self._asking.add(run)
        self._asked.add(run)
        try:
            request = JoinRequest(data_info=self._site.data_info, versions={"fluffle": __version__})
            if not await self._send(run, request):
                return False
            self._open_inbox(run)
        except Rejected as error:
            self._log.warning("not_joined", run=run, reason=error)
            return False
        finally:
            self._asking.remove(run)
        self._log.info("asked_to_join", run=run)
        return True

    def _open_inbox(self, run: str) -> Inbox:
        if run not in self._inboxes:
            self._inboxes[run] = Inbox()
            self._start(self._serve_run(run, self._inboxes[run]))
        return self._inboxes[run]

    # ---- requests --------------------------------------------------------------------------------------------------

    async def _requests(self) -> None:
        async with await self._session.consume(self._queue, prefetch=PREFETCH) as requests:
            self._log.info("ready", name=self._site.name, version=__version__)
            async for delivery in requests:
                if not self._drain.wanted:
                    await self._take_in(delivery)

    async def _take_in(self, delivery: Delivery) -> None:
        try:
            letter = open_letter(delivery)
        except OtherProtocol as error:
            await self._refuse(delivery, error)
        except BadMessage as error:
            await self._reject(delivery, str(error))
        except Exception as error:  # it would come again, and end the daemon each time
            self._log.exception("message_not_understood", key=delivery.routing_key)
            await self._reject(delivery, f"{type(error).__name__}: {error}")
        else:
            await (self._pass_on(letter) if isinstance(letter, Hint) else self._file(letter))

    async def _pass_on(self, hint: Hint) -> None:
        """Let a run's part know what may help it; it is settled at once, for it may wait longer than it is of use."""
        await settle(hint.delivery)
        if hint.run in self._inboxes:
            self._inboxes[hint.run].put_hint(hint.about)

    async def _file(self, letter: Letter) -> None:
        run = letter.run
        if isinstance(letter.request, JoinReply) and run not in self._inboxes and run not in self._asking:
            await settle(letter.delivery)  # to an earlier session: this one asks by itself, if the run still goes on
            return
        if run not in self._asked and not isinstance(letter.request, StopRequest):
            await self._join(run)  # what is left from an earlier session: its leader must know that this one is new
        if not await self._open_inbox(run).put(letter):
            self._log.info("delivered_again", run=run)

    async def _serve_run(self, run: str, inbox: Inbox) -> None:
        from fl.client.part import Part  # noqa: PLC0415  # needs numpy, which an idle daemon does without

        part = Part(self._site, self._session, run)
        try:
            await self._answer_all(run, part, inbox)
        finally:
            await part.close()
            del self._inboxes[run]
        if self._drain.wanted:
            return
        for letter in inbox.rest():  # what came while the part closed is for another one
            await self._file(letter)
        self._ended += part.took_part
        if self._site.leave_after is not None and self._ended >= self._site.leave_after:
            self._enough.set()
            return
        while self._waiting and not await self._join(self._waiting.popleft()):
            pass  # that one is over already

    async def _answer_all(self, run: str, part: "Part", inbox: Inbox) -> None:
        patience_s = None
        while not part.over:
            try:
                async with asyncio.timeout(patience_s):
                    letter = await inbox.take()
            except TimeoutError:
                return
            if self._drain.wanted:
                return
            if letter is None:  # the run is closed; its leader has said farewell, by another way
                patience_s = FAREWELL_S if part.took_part else 0.0
                continue
            if isinstance(letter, WeightsAhead):
                await part.read_ahead(letter)
                continue
            with self._working(run):
                await self._handle(part, inbox, letter)

    @contextmanager
    def _working(self, run: str) -> Iterator[None]:
        self._in_work.add(run)
        self._at_rest.clear()
        try:
            yield
        finally:
            self._in_work.remove(run)
            if not self._in_work:
                self._at_rest.set()

    async def _handle(self, part: "Part", inbox: Inbox, letter: Letter) -> None:
        """Answer one request; it is acknowledged last."""
        reply = await part.answer(letter.request, leader=letter.leader)
        if reply is not None and not await self._reply(letter, reply):
            part.over = True
        await inbox.settle(letter)

    async def _reply(self, letter: Letter, reply: Body) -> bool:
        """Send an answer; whether the run is still there to hear it."""
        try:
            return await self._send(letter.run, reply, answers=letter.delivery, route=_route(letter, reply))
        except Rejected as error:  # longer than the broker takes, say: the leader gets to know why there is no other
            self._log.warning("reply_not_sent", run=letter.run, reason=error)
            failed = failure(letter.request, f"its answer could not be sent: {error}")
            return await self._send(letter.run, failed, answers=letter.delivery)

    async def _refuse(self, delivery: Delivery, error: OtherProtocol) -> None:
        """Tell a leader of another protocol so, in words."""
        run = topology.Key.parse(delivery.routing_key).run
        self._log.warning("request_refused", run=run, reason=error)
        await self._send(run, Error(code=Error.Code.VERSION, text=str(error)), answers=delivery)
        await settle(delivery)

    async def _reject(self, delivery: Delivery, reason: str) -> None:
        """Move a message that makes no sense to the dead letters, and say why."""
        self._log.warning("message_rejected", key=delivery.routing_key, reason=reason)
        with suppress(SubscriptionLost):  # it comes again, and is rejected then
            await delivery.reject()

    async def _send(self, run: str, body: Body, *, answers: Delivery | None = None, route: str = "") -> bool:
        """Send to the run's leader, or to who shares its work; whether the run is still there to hear it."""
        envelope = wrap(run, self._site.name, body, now=self._site.clock())
        request = "" if answers is None else answers.message.message_id
        message = seal(envelope, user=self._session.user, correlation_id=request)
        key = topology.Key(run, self._site.name, what(body), route)
        try:
            await self._session.publish(message, exchange=topology.UP.name, routing_key=str(key))
        except Unroutable:
            return False
        return True


def _route(letter: Letter, reply: Body) -> str:
    """The word that the leader wants at the end of the reply's key; what is no update goes to the leader itself."""
    asked = letter.request
    return asked.route if isinstance(asked, TrainRequest) and isinstance(reply, TrainReply) else ""
