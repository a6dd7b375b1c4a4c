"""What a run takes at the broker."""

from dataclasses import dataclass
from typing import Final

from fl.core.aggregator.blocks import BLOCK
from fl.core.layout import Layout
from fl.core.optimizer import Optimizer
from fl.run.asking import how_many
from fl.run.events import Kind
from fl.run.spec import RunSpec, compression_of, weights_compression_of

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a training round has at the broker at most, but for the state of the server's optimizer.

    A site that is asked for its update once more, as the first has come to harm, sends it on top.
    """

    weights: int
    copies: int
    """Of which rounds there are weights: the present one, the next one and, where there are evaluations, the best."""
    fixed: int
    """Tensors that no round changes."""
    update: int
    """Of one client, with what its optimizer tells."""
    clients: int
    """Asked in a round."""
    sums: int = 0
    """Of blocks of clients, where several workers make them."""
    rounded: int = 0
    """Weights as clients get them, of the present round and the next one, where they are compressed."""

    @property
    def total(self) -> int:
        return self.copies * self.weights + self.rounded + self.fixed + self.clients * self.update + self.sums

    def excess(self, quota_mib: int) -> str | None:
        """Why this is too much for a broker of which a run may take `quota_mib`; None if it is not."""
        if self.total <= quota_mib * MIB:
            return None
        clients = f"{self.clients} client{'s' * (self.clients > 1)}"
        fixed = f", {_mib(self.fixed)} that no round changes" if self.fixed else ""
        rounded = f", {_mib(self.rounded)} of them compressed" if self.rounded else ""
        sums = f", {_mib(self.sums)} of sums that shards make" if self.sums else ""
        return (
            f"with {clients} in a round this run takes {_mib(self.total)} at the broker (weights of {self.copies} "
            f"rounds, each {_mib(self.weights)}{rounded}, and an update of {_mib(self.update)} from each client{fixed}"
            f"{sums}), where one run may take {_mib(quota_mib * MIB)}: ask fewer clients in a round (run.sampling), "
            "let updates be compressed (run.compression), or have whoever runs the broker raise it (`fluffle quota`)"
        )


def footprint(spec: RunSpec, weights: Layout, *, fixed: int, n_clients: int) -> Footprint:
    """What a run of these weights takes; `fixed` in bytes, `n_clients` as many as could be asked."""
    clients = how_many(spec, Kind.TRAIN, n_clients)
    sent_as = weights_compression_of(spec)
    return Footprint(
        weights.nbytes,
        copies=3 if spec.run.evaluate.frequency else 2,
        fixed=fixed,
        update=update_bytes(spec, weights) + exchange_bytes(spec, weights),
        clients=clients,
        rounded=0 if sent_as.lossless else 2 * sent_as.nbytes(weights),
        sums=-(-clients // BLOCK) * sum_bytes(spec, weights) if spec.run.shards > 1 else 0,
    )


def update_bytes(spec: RunSpec, weights: Layout) -> int:
    """Of one client's update."""
    return compression_of(spec).nbytes(weights)


def exchange_bytes(spec: RunSpec, weights: Layout) -> int:
    """Of the vectors that a client's optimizer may send to the server's, at most: each module sends one or two."""
    return 2 * len(Optimizer.from_config(spec.optim.server_opt).aux_names) * weights.nbytes


def sum_bytes(spec: RunSpec, weights: Layout) -> int:
    """Of the sum of a block of clients, at most: aggregators sum two vectors in float64, and each exchange is one."""
    return 2 * 8 * weights.float_size + exchange_bytes(spec, weights)


def _mib(n_bytes: int) -> str:
    return f"{-(-n_bytes // MIB)} MiB"
