"""What a broker's refusal means: its reply code and text, in the words of `broker.errors`."""

from broker.errors import (
    AccessRefused,
    BrokerError,
    ConnectionLost,
    Fatal,
    NotFound,
    Retryable,
    TooLarge,
    TopologyConflict,
)


def refusal(code: int, text: str) -> BrokerError:
    """The error for a channel that the broker closed with this code and text."""
    match code:
        case 403:
            return AccessRefused(text)
        case 404:
            return _not_found(text)
        case 405:
            return TopologyConflict(text)
        case 406:
            return _precondition_failed(text)
    return Fatal(f"the broker closed the channel: {code} {text}")


def untrusted(broker: object, error: Exception) -> Fatal:
    """The error for a broker whose certificate is not trusted."""
    return Fatal(f"{broker} shows a certificate not trusted here, name its authority with ?cafile=…: {error}")


def _not_found(text: str) -> BrokerError:
    """A broker that starts, or has lost a node, gives this code as well for what exists and is not up yet."""
    return NotFound(text) if text.startswith("NOT_FOUND - no ") else Retryable(text)


def _precondition_failed(text: str) -> BrokerError:
    """AMQP has one code for several refusals; the broker's text tells them apart."""
    if "message size" in text:
        return TooLarge(text)
    if "user_id" in text:
        return AccessRefused(text)
    if "delivery acknowledgement" in text:
        return ConnectionLost(text)
    if "replica on the local node" in text:
        return Retryable(text)
    return TopologyConflict(text)
