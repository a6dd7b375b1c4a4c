"""Terms of privacy as they travel, in replies and in the log."""

import math
from dataclasses import replace
from typing import Final

from fl.errors import BadMessage
from fl.run.terms import Terms
from fl.wire.messages_pb2 import PrivacyReply
from fl.words import words

MOST_TOLD: Final = 100
"""Kinds of things that leave a site without noise, and warnings: more than there are."""


def write_terms(terms: Terms) -> PrivacyReply:
    return PrivacyReply(
        noise_multiplier=terms.noise_multiplier,
        planned_steps=terms.planned_steps,
        spent_epsilon=terms.spent_epsilon,
        unprotected=terms.unprotected,
        warnings=terms.warnings,
        metric_noise=terms.metric_noise,
    )


def read_terms(reply: PrivacyReply) -> Terms:
    return Terms(
        reply.noise_multiplier,
        reply.planned_steps,
        reply.spent_epsilon,
        tuple(reply.unprotected),
        tuple(reply.warnings),
        reply.metric_noise if reply.HasField("metric_noise") else None,
    )


def vet_terms(reply: PrivacyReply) -> Terms:
    """A client's terms, for the log. Raises `BadMessage` for what no site says."""
    terms = read_terms(reply)
    for what, noise in (("noise_multiplier", terms.noise_multiplier), ("metric_noise", terms.metric_noise)):
        if noise is not None and not 0 < noise < math.inf:
            raise BadMessage(f"{what} is {noise}, which is no noise")
    if not reply.spent_epsilon >= 0:  # infinite where an accountant has no bound
        raise BadMessage(f"spent_epsilon is {reply.spent_epsilon}, which nobody can have spent")
    for name, texts in (("unprotected", reply.unprotected), ("warnings", reply.warnings)):
        if len(texts) > MOST_TOLD:
            raise BadMessage(f"{len(texts)} {name}: at most {MOST_TOLD} are read")
    return replace(terms, unprotected=tuple(map(words, terms.unprotected)), warnings=tuple(map(words, terms.warnings)))
