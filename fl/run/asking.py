"""Whom a round asks, and how many replies it needs: the spec's shares of the clients that are there."""

from collections.abc import Sequence

import numpy as np

from fl.core.training import round_generator
from fl.errors import ConfigError
from fl.run.events import Kind, RoundOpened
from fl.run.sampling import Candidate, ClientSampler, UniformSampler
from fl.run.share import count
from fl.run.spec import RunSpec
from fl.run.state import RunState


def participants(state: RunState, kind: Kind, round_: int) -> tuple[str, ...]:
    """Whom this round asks, in the order of their names. Raises `ConfigError` for a sampler that chooses wrongly."""
    if state.spec.run.central_privacy is not None and kind is Kind.TRAIN:
        return _by_chance(state, round_)
    ready = state.ready
    n_asked = how_many(state.spec, kind, len(ready))
    if n_asked == len(ready):
        return ready
    candidates = [_candidate(state, name) for name in ready]
    sampler, rng = _sampler(state.spec, kind), _generator(state, kind, round_)
    chosen = sampler.choose(candidates, n_asked, rng)
    _check_choice(sampler, chosen, ready, n_asked)
    return tuple(sorted(chosen))


def _by_chance(state: RunState, round_: int) -> tuple[str, ...]:
    """Each that is ready with the same probability, whatever the others do: Poisson sampling, by the run's secret.

    Accounting for it holds only where nobody else can tell who is asked.
    """
    assert state.secret, "whoever leads a centrally private run has its secret"
    rng = round_generator(state.secret, run=state.run, round_=round_, purpose="clients by chance")
    return tuple(name for name in state.ready if rng.random() < state.spec.run.sampling.clients)


def how_many(spec: RunSpec, kind: Kind, n_ready: int) -> int:
    """Clients that a round asks, where so many could be asked; at most, where each is asked by chance."""
    run = spec.run
    if run.central_privacy is not None and kind is Kind.TRAIN:
        return n_ready
    share = run.sampling.clients if kind is Kind.TRAIN else run.evaluate.clients
    least = run.min_replies if isinstance(run.min_replies, int) else 1
    return min(max(count(share, n_ready), least), n_ready)


def fewest(spec: RunSpec, trained: int) -> int:
    """Clients without which no round can be opened: those that the run was to start with, and later enough to reply."""
    if not trained:
        return spec.run.registration.min_clients
    return spec.run.min_replies if isinstance(spec.run.min_replies, int) else 1


def asked_next(state: RunState, round_: int) -> tuple[str, ...]:
    """Whom the run asks next, unless somebody goes or it ends early, when training round `round_` is committed.

    Nobody where that asks a sample of its clients: whom, may depend on what the commit says.
    """
    evaluates = state.spec.run.evaluates_after(round_)
    if not evaluates and round_ >= state.spec.run.rounds:
        return ()
    ready = state.ready
    if not evaluates and state.spec.run.central_privacy is not None and state.spec.run.sampling.clients < 1:
        return ()
    asks_all = how_many(state.spec, Kind.EVALUATE if evaluates else Kind.TRAIN, len(ready)) == len(ready)
    return ready if asks_all else ()


def needed(spec: RunSpec, opened: RoundOpened) -> int:
    """Replies without which this round cannot be committed.

    None are needed where its sum gets noise: whether it is committed would tell how many there were.
    """
    if spec.run.central_privacy is not None and opened.kind is Kind.TRAIN:
        return 0
    return count(spec.run.min_replies, len(opened.participants))


def enough(spec: RunSpec, opened: RoundOpened) -> int | None:
    """Replies with which this round closes at once; None: it waits for everybody."""
    take = spec.run.sampling.take
    if take is None or opened.kind is not Kind.TRAIN:
        return None
    return max(count(take, len(opened.participants)), needed(spec, opened))


def _candidate(state: RunState, name: str) -> Candidate:
    client = state.clients[name]
    return Candidate(name, client.data_info.n_samples, client.past)


def _sampler(spec: RunSpec, kind: Kind) -> ClientSampler:
    by = spec.run.sampling.by
    return ClientSampler.registry.build((by.name, by.config)) if kind is Kind.TRAIN else UniformSampler()


def _generator(state: RunState, kind: Kind, round_: int) -> np.random.Generator:
    """The same for every leader and, where the spec has a seed, in every run of it."""
    seed = state.spec.run.seed
    key, run = (b"", state.run) if seed is None else (str(seed).encode(), "")
    return round_generator(key, run=run, round_=round_, purpose=f"clients that {kind.value}")


def _check_choice(sampler: ClientSampler, chosen: Sequence[str], ready: Sequence[str], n_asked: int) -> None:
    if len(set(chosen)) == len(chosen) == n_asked and set(chosen) <= set(ready):
        return
    raise ConfigError(
        f"client sampler {sampler.name!r} was to choose {n_asked} of {list(ready)}, but chose {list(chosen)}"
    )
