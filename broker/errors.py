"""What can go wrong at the broker, sorted by what the caller must do.

    BrokerError
    ├── Retryable              the same call may succeed later, on a new session
    │   ├── ConnectionLost     the session is dead; drop what it held and open another
    │   ├── SubscriptionLost   this subscription alone is dead; what it held comes again to the next one
    │   ├── Unreachable        nobody answered at that address
    │   └── Late               the broker took too long over the next bulk bytes
    ├── Rejected               this message or name is wrong; the next one may be fine
    │   ├── Unroutable         no queue takes this routing key
    │   ├── TooLarge           longer than the broker accepts
    │   ├── NotFound           no queue or stream of that name
    │   └── BadBlob            bulk bytes differ from what their reference announces
    └── Fatal                  repeating changes nothing until a person acts
        ├── AccessRefused      wrong credentials, or no permission
        └── TopologyConflict   it exists already, with other arguments

No exception of an AMQP library leaves this package.
"""


class BrokerError(Exception):
    """Any failure of the messaging layer."""


class Retryable(BrokerError):
    """The same call may succeed later, on a new session."""


class ConnectionLost(Retryable):
    """The session died; everything it held unacknowledged will be delivered again."""


class SubscriptionLost(Retryable):
    """The broker ended one subscription, and the session lives; what was unsettled on it is delivered again."""


class Unreachable(Retryable):
    """Nobody answered at that address."""


class Late(Retryable):
    """The next bulk bytes did not come in time: the broker is slow, or they are not there."""


class Rejected(BrokerError):
    """This message or name is wrong; the session lives and the next one may be fine."""


class Unroutable(Rejected):
    """No queue takes this routing key, so the message was returned."""


class TooLarge(Rejected):
    """The message is longer than the broker accepts."""


class NotFound(Rejected):
    """There is no queue or stream of that name."""


class BadBlob(Rejected):
    """Bulk bytes differ in size, order or digest from what their reference announces."""


class Fatal(BrokerError):
    """Repeating the call changes nothing until a person acts."""


class AccessRefused(Fatal):
    """The credentials are wrong, or the user lacks the permission."""


class TopologyConflict(Fatal):
    """The name exists already with other arguments."""
