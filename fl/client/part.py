"""This site's part in one run: requests in, replies out."""

import asyncio
from pathlib import Path
from typing import Final

from broker import topology
from broker.base import Session
from broker.errors import Retryable, Unroutable
from broker.threads import in_thread
from fl.client.ahead import Ahead
from fl.client.carry import bring, send
from fl.client.checkpoint import keep_weights
from fl.client.disk import NoRoom
from fl.client.letters import Request, RoundRequest, failure
from fl.client.memory import NoMemory
from fl.client.site import Site
from fl.client.trainer import Trainer, TrainerDied
from fl.core.vector import NumpyVector
from fl.errors import BadMessage, FluffleError
from fl.wire.bulk import fetch
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import (
    Error,
    EvaluateRequest,
    InitReply,
    InitRequest,
    JoinReply,
    PrivacyRequest,
    StopRequest,
    TrainRequest,
    WeightsAhead,
)
from fl.wire.tensors import read_layout, read_ref
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall

UNKNOWN: Final = "this daemon does not know the run; it was restarted"

STATE_SHARE: Final = 8
"""Room for the state of a round, in sizes of the weights: an optimizer keeps up to four, and the last round's stay."""


class Part:
    """Answers one leader after another: a request that comes again gets the same answer again."""

    def __init__(self, site: Site, session: Session, run: str) -> None:
        self._site = site
        self._session = session
        self._run = run
        self._log = site.log.bind(run=run)
        self._trainer: Trainer | None = None
        self._ahead = Ahead(session, self._log)
        self._initialised_by: bytes | None = None
        self._refusal: Error | None = None
        """Why there is no model here, or none that may be trained."""
        self._answered: dict[str, tuple[bytes, Body]] = {}
        self._base = 0
        """The round whose weights were asked about last."""
        self.took_part = False
        self.over = False

    async def answer(self, request: Request, *, leader: str) -> Body | None:
        """The reply to a request of a leader, which has made room for what is too big for a message.

        None where no reply is due. Raises `Retryable`; whatever else goes wrong is a reply.
        """
        try:
            return await self._answer(request, leader)
        except Retryable:
            raise
        except Exception as error:  # an error of ours must not end the daemon's other runs
            self._log.exception("request_failed")
            return failure(request, f"{type(error).__name__}: {error}")

    async def _answer(self, request: Request, leader: str) -> Body | None:
        match request:
            case JoinReply():
                self._on_join_reply(request)
                return None
            case InitRequest():
                return await self._initialise(request)
            case PrivacyRequest():
                return await self._settle_privacy(request)
            case TrainRequest() | EvaluateRequest():
                return await self._answer_once(request, leader)
            case StopRequest():
                await self._stop(request)
                return None

    async def read_ahead(self, hint: WeightsAhead) -> None:
        """Begin to read weights that are being written, unless they are no news: a hint may come late, or again."""
        if self._trainer is not None and self._initialised_by is not None and hint.round > self._base:
            await self._ahead.begin(read_ref(hint.weights), self._trainer.memory)

    async def close(self) -> None:
        """End the trainer. Harmless when repeated."""
        self._initialised_by = None
        try:
            await self._ahead.drop()
        finally:  # also where nobody waits for it any longer: no trainer outlives its daemon
            if self._trainer is not None:
                await self._trainer.close()
                self._trainer = None

    def _on_join_reply(self, reply: JoinReply) -> None:
        if reply.accepted:
            self.took_part = True
            self._log.info("joined")
            return
        self._log.warning("not_admitted", reason=reply.reason)
        self.over = True

    async def _initialise(self, request: InitRequest) -> Body:
        wanted = request.SerializeToString(deterministic=True)
        if self._initialised_by == wanted:
            return InitReply()
        await self.close()
        try:
            self._trainer = await self._site.new_trainer(self._run)
            answer = await self._ask(TrainerCall(run=self._run, init=request))
            await in_thread(self._trainer.memory.give_back)  # tensors that no round changes came through it
        except FluffleError as error:
            return self._failed(Error(code=Error.Code.FAILED, text=str(error)))
        if answer.WhichOneof("answer") == "error":
            return self._failed(answer.error)
        self._initialised_by, self._refusal = wanted, None
        self._answered.clear()
        self._log.info("initialised")
        return answer.init

    async def _settle_privacy(self, request: PrivacyRequest) -> Body:
        """It follows the model, and is answered like it: what this site has refused once it refuses again."""
        if self._refusal is not None:
            return self._refusal
        if self._initialised_by is None:
            return failure(request, UNKNOWN, Error.Code.UNINITIALISED)
        answer = await self._ask(TrainerCall(run=self._run, privacy=request))
        if answer.WhichOneof("answer") == "error":
            return self._failed(answer.error)
        terms = answer.privacy
        self._log.info("trains_privately", noise_multiplier=terms.noise_multiplier, spent_before=terms.spent_epsilon)
        for warning in terms.warnings:
            self._log.warning("privacy_warning", reason=warning)
        return terms

    async def _answer_once(self, request: RoundRequest, leader: str) -> Body:
        kind = type(request).__name__
        wanted = request.SerializeToString(deterministic=True)
        known = self._answered.get(kind)
        if known is not None and known[0] == wanted:
            self._log.info("answered_again", request=kind, round=request.round)
            return known[1]
        if self._initialised_by is None:
            return failure(request, UNKNOWN, Error.Code.UNINITIALISED)
        reply = await self._work(request, leader)
        if not isinstance(reply, Error):
            self._answered[kind] = (wanted, reply)
        return reply

    async def _work(self, request: RoundRequest, leader: str) -> Body:
        self._base = request.round - 1 if isinstance(request, TrainRequest) else request.round
        self._log.info("in_work", request=type(request).__name__, round=request.round)
        code = Error.Code.FAILED
        try:
            answer = await self._ask(self._call(request))
            if answer.WhichOneof("answer") == "train":
                answer.train.reads_ahead = True
                await self._send(answer, leader, edition=getattr(request, "edition", 0))
                self._log.info("trained", round=request.round, steps=answer.train.n_steps, seconds=answer.train.seconds)
                return answer.train
            if answer.WhichOneof("answer") == "evaluate":
                return answer.evaluate
            text, code = answer.error.text, answer.error.code
        except (TrainerDied, BadMessage, NoMemory) as error:
            text = str(error)
        except Unroutable:
            text = "its update has no stream to go to any more: the round is over"
        except NoRoom:
            self._site.state.lack(STATE_SHARE * read_layout(request.weights.layout).nbytes)
            raise
        self._log.warning("request_failed", round=request.round, reason=text)
        return failure(request, text, code)

    def _call(self, request: RoundRequest) -> TrainerCall:
        if isinstance(request, TrainRequest):
            return TrainerCall(run=self._run, train=request)
        return TrainerCall(run=self._run, evaluate=request)

    async def _ask(self, call: TrainerCall) -> TrainerAnswer:
        trainer = self._trainer
        assert trainer is not None, "asked after it was started"
        await bring(self._session, trainer.memory, call, ahead=self._ahead)
        try:
            answer = await trainer.ask(call)
        except TrainerDied:
            await self.close()
            raise
        trainer.memory.keep(answer.spans.values())
        if answer.WhichOneof("answer") == "error" and not answer.error.code:
            raise NoRoom(f"run {self._run}: {answer.error.text}")
        return answer

    async def _send(self, answer: TrainerAnswer, leader: str, *, edition: int) -> None:
        assert self._trainer is not None, "it has just answered"
        room = topology.Room(self._run, answer.train.round, self._site.name, leader)
        await send(self._session, self._trainer.memory, answer, room=room, edition=edition)
        self._trainer.memory.keep()

    async def _stop(self, request: StopRequest) -> None:
        await self._ahead.drop()
        self._log.info("run_over", status=request.status, reason=request.reason, best_round=request.best_round)
        if self._site.checkpoint is not None and request.HasField("weights"):
            await self._keep_weights(self._site.checkpoint, request)
        await self.close()
        self.took_part |= self._site.state.knows(self._run)  # if the connection was lost since it joined
        self._site.state.forget(self._run)
        self.over = True

    async def _keep_weights(self, folder: Path, request: StopRequest) -> None:
        try:
            parts = [request.weights, request.fixed] if request.HasField("fixed") else [request.weights]
            fetched = [await fetch(self._session, part) for part in parts]
            weights = await asyncio.to_thread(NumpyVector.join, *fetched) if len(fetched) > 1 else fetched[0]
            path = await asyncio.to_thread(keep_weights, folder, self._run, weights, request)
        except Retryable:
            raise
        except Exception as error:  # a full disk, say; the run is over all the same, and its weights are on the broker
            self._log.warning("weights_not_kept", reason=f"{type(error).__name__}: {error}")
        else:
            self._log.info("weights_kept", path=path)

    def _failed(self, error: Error) -> Error:
        self._log.warning("initialisation_failed", reason=error.text)
        self._refusal = error
        return error
