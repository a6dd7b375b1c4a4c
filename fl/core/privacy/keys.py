"""Keys of a round's randomness: the same when the very same is done again, and others for anything else.

A round may be done again, as when its request comes twice. From the same start it gives the same bits, and tells
nobody more than it did: no second spending. But from other weights, or another state of the site's optimizer, the same
noise would lie on other gradients, and the difference of both would be gradients without noise. The same batches would
be no better: what sampling saves is counted as if batches were drawn anew. So all that gradients depend on is in the
key, a round that differs in any of it draws anew, and `ledger.py` has it paid for again.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fl import __version__
from fl.core.privacy.accounting import Spending


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """All that the gradients of a round are a function of, but for its randomness."""

    run: str
    task: str
    """A digest, as are others below: of what the run has in common, such as the model and its loss."""
    round_: int
    counted: int
    """The round after which the site's own state goes on."""
    dataset: str
    """Its fingerprint."""
    weights: str
    state: str
    """Of what the site keeps from round to round: of its optimizer, its model, its compression."""
    aux: str
    """Of what the server's optimizer tells."""
    paid: Spending
    sclip_norm: float
    secure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFacts:
    """All that an evaluation tells is a function of, but for its noise."""

    run: str
    task: str
    """A digest, as are others below: of what the run has in common, such as the model and its metrics."""
    dataset: str
    """Its fingerprint."""
    weights: str
    state: str
    """Of what the model keeps at the site."""
    bounds: Mapping[str, float]
    """Of the sums that are told."""
    noise_multiplier: float


def spending_key(seed: bytes, facts: RoundFacts) -> str:
    """What a round's spending is known by: 64 hex digits, which tell nothing of the secret `seed`."""
    paid = facts.paid
    parts = (
        *(facts.run, facts.task, str(facts.round_), str(facts.counted)),
        *(facts.dataset, facts.weights, facts.state, facts.aux),
        *(repr(float(paid.noise_multiplier)), repr(float(paid.sample_rate)), str(int(paid.steps))),
        *(repr(float(facts.sclip_norm)), str(bool(facts.secure)), __version__),
    )
    return _digest(seed, "spending", parts).hex()


def evaluation_key(seed: bytes, facts: EvaluationFacts) -> str:
    """What an evaluation's spending is known by, likewise: the same weights may be evaluated in several rounds."""
    parts = (
        *(facts.run, facts.task, facts.dataset, facts.weights, facts.state),
        *(f"{key} {float(bound)!r}" for key, bound in facts.bounds.items()),
        *(repr(float(facts.noise_multiplier)), __version__),
    )
    return _digest(seed, "evaluation", parts).hex()


def noise_key(seed: bytes, key: str) -> bytes:
    """The 32 bytes that the noise of a spending is drawn from."""
    return _digest(seed, "noise", [key])


def batches_generator(seed: bytes, key: str) -> np.random.Generator:
    """What the batches of a spending are drawn from."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, "batches", [key]), "little")))


def _digest(seed: bytes, purpose: str, parts: Iterable[str]) -> bytes:
    """HMAC-SHA256, each part with its length before it."""
    texts = [text.encode() for text in (purpose, *parts)]
    return hmac.digest(seed, b"".join(len(text).to_bytes(8, "little") + text for text in texts), "sha256")
