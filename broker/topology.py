"""Every exchange, queue, stream and routing key, and nothing that talks to a broker.

Routing keys on the topic exchanges are `<run>.<client>.<what>`. Clients may publish to `fl.up` only, and their
permission there pins the second word to their own name: **that word is who sent it.**
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from broker.base import Binding, Declarable, Exchange, Queue, Stream

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a run or client may be called: it becomes one word of a routing key."""

UP: Final = Exchange("fl.up")
DOWN: Final = Exchange("fl.down")
DEAD: Final = Exchange("fl.dead", "fanout")
RUNS: Final = Stream("fl.runs")
QUOTA: Final = Stream("fl.quota")
"""There where somebody has said what a run may take (`broker.quota`)."""
DEAD_QUEUE: Final = Queue("fl.dead", delivery_limit=1_000_000, single_active=False)
"""Dead letters stay however often people look at them: without a limit of its own RabbitMQ 4 would drop them at 20."""

MARKER: Final = "marker"
"""Type of a message that says nothing: whoever wrote it reads a stream up to it, and everybody else skips it."""

DELIVERY_LIMIT: Final = 50
"""How often one message may come back before it is dead-lettered: far above the takeovers one round sees."""

LEADER_PREFETCH: Final = 10_000
"""Replies of the open round stay unacknowledged until its commit, so this bounds the clients of one round."""


def base() -> tuple[Declarable, ...]:
    """What every run shares."""
    return (UP, DOWN, DEAD, DEAD_QUEUE, Binding(DEAD_QUEUE.name, DEAD.name), RUNS)


def client(name: str) -> tuple[Declarable, ...]:
    """The queue of one daemon: requests of all runs' leaders."""
    queue = Queue(client_queue(name), dead_letter=DEAD.name, delivery_limit=DELIVERY_LIMIT)
    return (queue, Binding(queue.name, DOWN.name, f"*.{name}.#"))


def run(run_id: str, shards: int = 1) -> tuple[Declarable, ...]:
    """What one run needs from its first message on: its log, its leader's queue, and those of its shards."""
    queue = Queue(run_queue(run_id), dead_letter=DEAD.name, delivery_limit=DELIVERY_LIMIT)
    leads = (Stream(run_log(run_id)), queue, Binding(queue.name, UP.name, f"{run_id}.*.*"))
    return (*leads, *(item for number in range(shards if shards > 1 else 0) for item in shard(run_id, number)))


def shard(run_id: str, number: int) -> tuple[Declarable, ...]:
    """Where the replies go that one shard of a run sums: their keys end with its number, as the fourth word."""
    queue = Queue(shard_queue(run_id, number), dead_letter=DEAD.name, delivery_limit=DELIVERY_LIMIT)
    return (queue, Binding(queue.name, UP.name, f"{run_id}.*.*.{number}"))


def client_queue(name: str) -> str:
    return f"fl.client.{name}"


def run_queue(run_id: str) -> str:
    return f"fl.run.{run_id}.server"


def shard_queue(run_id: str, number: int) -> str:
    return f"{run_queue(run_id)}.{number}"


def queues_of(run_id: str, shards: int) -> tuple[str, ...]:
    """All that a run has; the last one is its leader's, which others take as a sign that the run is over."""
    return (*(shard_queue(run_id, number) for number in range(shards if shards > 1 else 0)), run_queue(run_id))


def run_log(run_id: str) -> str:
    return f"fl.run.{run_id}.log"


def secret_stream(run_id: str) -> str:
    """What only workers may read: where the randomness of a run comes from that others must not know."""
    return f"fl.run.{run_id}.secret"


def weights_stream(run_id: str, round_: int, writer: str) -> str:
    """Weights of a round. `writer` keeps a half-written stream of a dead leader apart from its successor's."""
    return f"fl.run.{run_id}.w.{round_}.{writer}"


def sent_stream(run_id: str, round_: int, writer: str) -> str:
    """Weights of a round as clients get them, where they are compressed."""
    return f"fl.run.{run_id}.c.{round_}.{writer}"


def state_stream(run_id: str, round_: int, writer: str) -> str:
    """State of the server's optimizer after a round."""
    return f"fl.run.{run_id}.s.{round_}.{writer}"


def aux_stream(run_id: str, round_: int, writer: str) -> str:
    """What the server's optimizer tells those of the clients after a round."""
    return f"fl.run.{run_id}.a.{round_}.{writer}"


def sum_stream(run_id: str, round_: int, block: int, leader: str) -> str:
    """The sum of a block of clients. It has the name of who leads, so that the next leader knows what may be there."""
    return f"fl.run.{run_id}.p.{round_}.{block}.{leader}"


def aux_sum_stream(run_id: str, round_: int, block: int, leader: str) -> str:
    """What the optimizers of a block of clients tell the server's, added up."""
    return f"fl.run.{run_id}.q.{round_}.{block}.{leader}"


Cargo = Literal["u", "x"]
"""What a client sends in bulk: its update, or what its optimizer tells the server's."""


@dataclass(frozen=True, slots=True)
class Room:
    """A stream for one client's bulk of one round: the client writes to it through `fl.up`, and nowhere else.

    `leader` is who asked for it. Each leader makes rooms of its own, since RabbitMQ 3.10 leaves a stream whose
    declaration a crash cut short broken for ever, under its name.
    """

    run: str
    round: int
    client: str
    leader: str
    cargo: Cargo = "u"

    @property
    def stream(self) -> str:
        return f"fl.run.{self.run}.{self.cargo}.{self.round}.{self.client}.{self.leader}"

    @property
    def key(self) -> str:
        """Five words, so that the run's queue, which takes three, does not get the chunks."""
        return f"{self.run}.{self.client}.{self.cargo}.{self.round}.{self.leader}"

    def declaration(self, *, max_bytes: int) -> tuple[Declarable, ...]:
        return (Stream(self.stream, max_bytes=max_bytes), Binding(self.stream, UP.name, self.key))


@dataclass(frozen=True, slots=True)
class Key:
    """A routing key on `fl.up` or `fl.down`, taken apart; `route` is a fourth word, which most have not."""

    run: str
    client: str
    what: str
    route: str = ""

    def __str__(self) -> str:
        return f"{self.run}.{self.client}.{self.what}" + (f".{self.route}" if self.route else "")

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Raises `ValueError` unless the key has its three words, or four."""
        words = text.split(".", 3)
        if len(words) < 3:
            raise ValueError(f"routing key {text!r} is not <run>.<client>.<what>")
        return cls(*words)


def check_name(name: str, what: str) -> str:
    """Return `name`, or raise `ValueError` saying what a name may hold."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r}: use 1 to 64 letters, digits, '-' or '_', starting with a letter or digit")
    return name
