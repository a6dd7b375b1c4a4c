"""Runs to record, one for each thing that may happen to a run. What a scene is about is its docstring."""

from collections.abc import Awaitable, Callable
from typing import Final
from unittest.mock import patch

import numpy as np

from broker import topology
from fl.core.vector import NumpyVector, Role
from fl.run.events import (
    ClientsAdmitted,
    ClientsReady,
    ClientsReturned,
    LeaderStarted,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunInitialised,
    RunPaused,
    StillWaiting,
)
from fl.run.releases import planned
from fl.run.step import LOGIC_VERSION
from fl.submit.submission import cancellation, resumption
from fl.wire.messages_pb2 import DataInfo, EvaluateReply, InitRequest, TrainReply
from fl.wire.records import write_record
from tests.histories.history import SECRET
from tests.histories.players import NAMES, START, Failing, Stage, asked, judging, stepping, withholding
from tests.integration.private import Private, offer_secret
from tests.integration.world import Puppet, make_spec, until

# ---- what is learned ---------------------------------------------------------------------------------------------


async def plain_averaging(stage: Stage) -> None:
    """Three sites train and evaluate, and nothing happens to anybody."""
    await stage.begin(make_spec(rounds=3), weights=None)
    await stage.sites("ant", "bee", "cat")


async def server_optimizer(stage: Stage) -> None:
    """The server's optimizer has a state that every commit carries on."""
    await stage.begin(stepping(make_spec(rounds=3, clients=2), "FedAdam"), weights=None)
    await stage.sites("ant", "bee")


async def scaffold(stage: Stage) -> None:
    """Both sides' optimizers tell each other something; each round asks one of two sites."""
    spec = make_spec(rounds=5, clients=2, sampling=1, evaluate={"frequency": 2})
    await stage.begin(stepping(spec, "SCAFFOLD"), weights=None)
    await stage.sites("ant", "bee")


async def bulk_weights(stage: Stage) -> None:
    """The weights are bulk, and the leader loses its connection in the second round."""
    size = 50_000
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = DataInfo(n_samples=10, n_features=size, input_shape=[0, size])
    ant, bee = (Puppet(name, info=info, weights=start) for name in ("ant", "bee"))
    bee.withhold(2)
    await stage.begin(make_spec(rounds=3, clients=2), start)
    stage.puppets(ant, bee)
    await asked(bee, 2)
    stage.parties.cut("worker")
    await stage.until(LeaderStarted, LeaderStarted)
    bee.let_go(2)


async def compressed_weights(stage: Stage) -> None:
    """Weights go to clients in half as many bytes; another leads before anybody has got the first ones."""
    await stage.begin(make_spec(rounds=2, clients=2, compression="bf16"))
    with stage.cut_between(RunInitialised, ClientsReady):
        await stage.sites("ant", "bee")
        await stage.until(LeaderStarted, LeaderStarted)


async def fixed_tensors(stage: Stage) -> None:
    """The model has a tensor that no round changes."""
    whole = {**START.arrays(), "scale": np.full(2, 0.25)}
    await stage.begin(make_spec(rounds=1, clients=1), NumpyVector.from_arrays(whole, {"scale": Role.FIXED}))
    stage.puppets(Puppet("ant"))


async def shards(stage: Stage) -> None:
    """Shards make the sum, and all lose their connection when it is settled who is in it and nobody has made it."""
    await stage.begin(make_spec(rounds=2, clients=2, shards=2))
    with stage.cut_between(RoundClosed, RoundCommitted):
        stage.puppets(Puppet("ant"), Puppet("bee"))
        await stage.until(LeaderStarted, LeaderStarted)


async def private_and_spent(stage: Stage) -> None:
    """Sites train privately, and one of them has nothing left to spend in the second round."""
    privacy = {"budget": (8.0, 1e-3), "sclip_norm": 1.0}
    await stage.begin(make_spec(rounds=3, clients=2, privacy=privacy))
    stage.puppets(Private("ant", set()), Private("bee", {2}))


async def central_privacy(stage: Stage) -> None:
    """Clients are asked by chance and their sum gets noise; its leader dies when it is settled who is in the sum."""
    settings = {"clip_norm": 0.5, "budget": (20.0, 1e-3), "adaptive": True}
    spec = make_spec(rounds=4, clients=3, sampling=0.5, evaluate=False, central_privacy=settings)
    await offer_secret(stage.parties.owner, stage.run, SECRET)
    await stage.begin(planned(spec))
    with stage.cut_between(RoundClosed, RoundCommitted):
        stage.puppets(Puppet("ant"), Puppet("bee"), Puppet("cat"))
        await stage.until(LeaderStarted, LeaderStarted)


# ---- who takes part ----------------------------------------------------------------------------------------------


async def late_joiner(stage: Stage) -> None:
    """A client joins while a round is open, and takes part from the next one on."""
    ant, late = withholding("ant", 1), Puppet("late")
    await stage.begin(make_spec(rounds=2, register={"min_clients": 1}))
    stage.puppets(ant)
    await asked(ant, 1)
    stage.puppets(late)
    await stage.until(ClientsAdmitted, ClientsAdmitted)
    await until(lambda: bool(late.heard_of(InitRequest)))
    ant.let_go(1)


async def set_aside_and_back(stage: Stage) -> None:
    """A client that twice fails to train is set aside; it joins again in the third round, and takes part after it."""
    ant = withholding("ant", 3)
    spec = make_spec(rounds=4, register={"min_clients": 1, "max_clients": 2}, set_aside_after=2)
    await stage.begin(spec)
    stage.puppets(ant, Failing("bee"))
    await asked(ant, 3)
    stage.puppets(Puppet("bee"))
    await stage.until(ClientsReturned)
    ant.let_go(3)


async def gone_and_back(stage: Stage) -> None:
    """A client goes, and its round is committed without it; it comes back in the next, and takes part after that."""
    ant, bee = withholding("ant", 2), withholding("bee", 1)
    await stage.begin(make_spec(rounds=3, clients=2, gone_after=0.2))
    stage.puppets(ant, bee)
    await asked(bee, 1)
    await stage.parties.stop("bee")
    await asked(ant, 2)
    stage.puppets(Puppet("bee"))
    await stage.until(ClientsReturned)
    ant.let_go(2)


async def late_replies(stage: Stage) -> None:
    """A round closes at its deadline without one client, which is asked again in the next."""
    slow = withholding("slow", 1)
    await stage.begin(make_spec(rounds=2, clients=2, deadline=0.5))
    stage.puppets(Puppet("ant"), slow)
    await stage.until(RoundCommitted)
    slow.let_go(1)


async def uniform_sampling(stage: Stage) -> None:
    """Half of the clients are asked, by the name of the run; as many evaluate."""
    await stage.begin(make_spec(rounds=5, clients=4, seed=None, sampling=0.5, evaluate={"clients": 2}))
    stage.puppets(*(Puppet(name) for name in NAMES[:4]))


async def weighted_sampling(stage: Stage) -> None:
    """Clients are asked the more often the more samples they have."""
    await stage.begin(make_spec(rounds=5, clients=5, sampling={"clients": 2, "by": "weighted"}, evaluate=False))
    stage.puppets(*(judging(name, 1.0, n_samples=10 * number) for number, name in enumerate(NAMES, start=1)))


async def sampling_by_loss(stage: Stage) -> None:
    """More are asked than needed, by their losses and some by chance, and the first replies are taken."""
    sampling = {"clients": 3, "take": 2, "by": "criterion", "criterion": "loss", "explore": 0.3, "pool": 4}
    await stage.begin(make_spec(rounds=6, clients=5, sampling=sampling))
    stage.puppets(*(judging(name, float(loss)) for loss, name in enumerate(NAMES)))


async def sampling_by_pace(stage: Stage) -> None:
    """The fastest are asked, and the first two replies are taken: who was asked in vain comes last."""
    sampling = {"clients": 3, "take": 2, "by": "criterion", "criterion": "train-time", "explore": 0.1}
    await stage.begin(make_spec(rounds=6, clients=5, sampling=sampling, evaluate=False))
    stage.puppets(*(judging(name, 1.0, seconds=float(number)) for number, name in enumerate(NAMES)))


# ---- waiting -----------------------------------------------------------------------------------------------------


async def pause_in_a_round(stage: Stage) -> None:
    """A client that is needed goes in the middle of a round, and comes back after a while."""
    bee = withholding("bee", 1)
    with patch("fl.run.decide.FIRST_WORD_S", 0.2):  # else it is told after seconds only
        await stage.begin(make_spec(rounds=2, clients=2, min_replies=2, gone_after=0.2, patience=60))
        stage.puppets(Puppet("ant"), bee)
        await asked(bee, 1)
        await stage.parties.stop("bee")
        await stage.until(RunPaused, StillWaiting)
        stage.puppets(Puppet("bee"))
        await stage.until(ClientsReturned)


async def pause_before_rounds(stage: Stage) -> None:
    """A client that is needed cannot build the model; another leads when it comes back and can."""
    await stage.begin(make_spec(rounds=1, clients=2, patience=60))
    stage.puppets(Puppet("ant"), Puppet("bee", unable="out of memory"))
    await stage.until(RunPaused)
    await stage.parties.stop("bee")
    stage.parties.cut("worker")
    await stage.until(LeaderStarted, LeaderStarted)
    stage.puppets(Puppet("bee"))


async def pause_resumed(stage: Stage) -> None:
    """The only client fails; the researcher mends what was wrong, and has it asked again."""
    await stage.begin(make_spec(rounds=1, clients=1, patience=60))
    failures = [True]

    def fail_once(reply: TrainReply) -> None:
        if failures:
            failures.clear()
            reply.update.Clear()

    stage.puppets(Puppet("ant", lie=fail_once))
    await stage.until(RunPaused)
    await stage.ask(resumption(stage.run, sender="tester", now=0.0, user=stage.parties.owner.user))


async def end_of_patience(stage: Stage) -> None:
    """Too few reply by the deadline, nobody comes back in time, and the run fails with the weights that it has."""
    bee = withholding("bee", 2)
    await stage.begin(make_spec(rounds=2, clients=2, min_replies=2, deadline=0.5, patience=0.5))
    stage.puppets(Puppet("ant"), bee)


# ---- who leads ---------------------------------------------------------------------------------------------------


async def takeover(stage: Stage) -> None:
    """A leader is replaced in the middle of a round without noticing, and commits it in vain; another does it again."""
    ant = withholding("ant", 2)
    await stage.begin(make_spec(rounds=3, clients=2))
    stage.puppets(ant, Puppet("bee"))
    await asked(ant, 2)
    usurper = write_record("usurper", LeaderStarted("usurper", "by hand", LOGIC_VERSION), number=0, now=0.0)
    await stage.parties.owner.publish(usurper, routing_key=topology.run_log(stage.run))
    ant.let_go(2)


async def takeover_in_preparation(stage: Stage) -> None:
    """The leader loses its connection before the first weights are in the log; its successor makes them again."""
    with stage.cut_between(ClientsAdmitted, RunInitialised):
        await stage.begin(make_spec(rounds=1, clients=1))
        stage.puppets(Puppet("ant"))
        await stage.until(LeaderStarted, LeaderStarted)


async def takeover_after_a_commit(stage: Stage) -> None:
    """The leader loses its connection between a commit and what follows; its successor goes on from there."""
    ant = withholding("ant", 1)
    await stage.begin(make_spec(rounds=2, clients=2, evaluate=False))
    stage.puppets(ant, Puppet("bee"))
    await asked(ant, 1)
    with stage.cut_between(RoundCommitted, RoundOpened):
        ant.let_go(1)
        await stage.until(LeaderStarted, LeaderStarted)


# ---- endings -----------------------------------------------------------------------------------------------------


async def early_stop(stage: Stage) -> None:
    """After the second round the loss is hardly better in the third and worse in the fourth; the best weights stay."""
    losses = {1: 1.0, 2: 0.5, 3: 0.49, 4: 0.6}

    def tell_loss(reply: EvaluateReply) -> None:
        reply.loss_sum = losses[reply.round]

    early_stop = {"patience": 2, "tolerance": 0.05, "relative": True}
    await stage.begin(make_spec(rounds=9, clients=2, early_stop=early_stop))
    stage.puppets(*(Puppet(name, lie_about_loss=tell_loss) for name in ("ant", "bee")))


async def cancelled(stage: Stage) -> None:
    """The researcher ends the run in its second round, and it leaves the weights of the first."""
    ant = withholding("ant", 2)
    await stage.begin(make_spec(rounds=3, clients=2))
    stage.puppets(ant, Puppet("bee"))
    await asked(ant, 2)
    await stage.ask(cancellation(stage.run, "seen enough", sender="tester", now=0.0, user=stage.parties.owner.user))


async def no_model(stage: Stage) -> None:
    """One of two clients cannot build the model, and the run waits for nobody."""
    await stage.begin(make_spec(rounds=1, clients=2, patience=0))
    stage.puppets(Puppet("ant"), Puppet("bee", unable="out of memory"))


async def data_that_do_not_fit(stage: Stage) -> None:
    """The clients' data have not the same features, so that there is no model for all of them."""
    narrow = DataInfo(n_samples=10, n_features=2, input_shape=[0, 2])
    await stage.begin(make_spec(rounds=1, clients=2), weights=None)
    stage.puppets(Puppet("ant"), Puppet("bee", info=narrow))


async def too_few_joined(stage: Stage) -> None:
    """One of two clients joins within the time of registration."""
    await stage.begin(make_spec(rounds=1, register={"min_clients": 2, "timeout": 0.5}))
    stage.puppets(Puppet("ant"))


SCENES: Final[dict[str, Callable[[Stage], Awaitable[None]]]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        plain_averaging,
        server_optimizer,
        scaffold,
        bulk_weights,
        compressed_weights,
        fixed_tensors,
        shards,
        private_and_spent,
        central_privacy,
        late_joiner,
        set_aside_and_back,
        gone_and_back,
        late_replies,
        uniform_sampling,
        weighted_sampling,
        sampling_by_loss,
        sampling_by_pace,
        pause_in_a_round,
        pause_before_rounds,
        pause_resumed,
        end_of_patience,
        takeover,
        takeover_in_preparation,
        takeover_after_a_commit,
        early_stop,
        cancelled,
        no_model,
        data_that_do_not_fit,
        too_few_joined,
    )
}
