"""What aio-pika raises, in our words: none of its exceptions leaves this package."""

import ssl
from typing import Final

from aio_pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from broker.address import Address
from broker.errors import AccessRefused, BrokerError, ConnectionLost, Retryable, Unreachable, Unroutable
from broker.refusals import refusal, untrusted

_LIBRARY_ERRORS: Final = (AMQPError, ChannelInvalidStateError, OSError)

_CODES: Final[dict[type[Exception], int]] = {
    ChannelAccessRefused: 403,
    ChannelNotFoundEntity: 404,
    ChannelLockedResource: 405,
    ChannelPreconditionFailed: 406,
}


def is_library_error(error: Exception) -> bool:
    """Whether the library raised this; it rejects what was pending on a clean end of file with a bare `Exception`."""
    return isinstance(error, _LIBRARY_ERRORS) or type(error) is Exception


def translate(error: Exception) -> BrokerError:
    """Say what a failed call means. What is no verdict of the broker on the call is a lost connection."""
    text = str(error.args[0]) if error.args else repr(error)
    code = _CODES.get(type(error))
    if code is not None:
        return refusal(code, text)
    match error:
        case PublishError():
            return Unroutable(f"the broker returned the message, no queue takes it: {error}")
        case DeliveryError():
            return Retryable("the broker could not store the message (nack): publish it again later")
        case ChannelClosed(args=(int(other_code), *words)):
            return refusal(other_code, " ".join(map(str, words)))
    return ConnectionLost(f"no connection to the broker: {text}")


def translate_connecting(error: Exception, address: Address) -> BrokerError:
    """Say why there is no connection, without the password."""
    match error:
        case ProbableAuthenticationError():
            return AccessRefused(f"the broker refused {address.identity}: check the name and the password")
        case InvalidFrameError():
            # The library drops the broker's words; after a login that worked it refuses nothing but the vhost.
            return AccessRefused(f"the broker refused {address.identity}: check that the vhost exists and is permitted")
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return untrusted(address, error.__cause__)
    return Unreachable(f"no broker answers at {address}: {error}")
