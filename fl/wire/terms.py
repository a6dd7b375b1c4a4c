"""Terms of privacy as they travel, in replies and in the log."""

from fl.run.terms import Terms
from fl.wire.messages_pb2 import PrivacyReply


def write_terms(terms: Terms) -> PrivacyReply:
    return PrivacyReply(
        noise_multiplier=terms.noise_multiplier,
        planned_steps=terms.planned_steps,
        spent_epsilon=terms.spent_epsilon,
        unprotected=terms.unprotected,
        warnings=terms.warnings,
    )


def read_terms(reply: PrivacyReply) -> Terms:
    return Terms(
        reply.noise_multiplier,
        reply.planned_steps,
        reply.spent_epsilon,
        tuple(reply.unprotected),
        tuple(reply.warnings),
    )
