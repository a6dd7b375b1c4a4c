"""A private cluster of RabbitMQ nodes on the loopback interface, for development and tests."""

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from broker.erlang import PortMapper
from broker.local import LocalRabbit, Membership


class LocalCluster:
    """Nodes that only see each other. What is cut off from most of them pauses, and comes back by itself.

    Queues and streams have a replica on each of three nodes, by RabbitMQ's own defaults. `nodes` are killed and started
    one by one. Raises `Fatal` where RabbitMQ is not installed.
    """

    def __init__(
        self, size: int = 3, *, extra_config: Mapping[str, str] | None = None, timeout_s: float = 120.0
    ) -> None:
        mapper, cookie = PortMapper(), secrets.token_hex(16)
        self._names = [f"fluffle-{number}@localhost" for number in range(1, size + 1)]
        config = {
            "cluster_formation.peer_discovery_backend": "classic_config",
            "cluster_partition_handling": "pause_minority",
            **{f"cluster_formation.classic_config.nodes.{n}": name for n, name in enumerate(self._names, start=1)},
            **(extra_config or {}),
        }
        self._mapper = mapper
        self.nodes = tuple(
            LocalRabbit(extra_config=config, timeout_s=timeout_s, membership=Membership(name, cookie, mapper))
            for name in self._names
        )

    @property
    def url(self) -> str:
        """Where the default user connects, to any of the nodes."""
        hosts = ",".join(node.url.rpartition("@")[2].rstrip("/") for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/"

    def start(self) -> Self:
        """Start all nodes, and wait until they are one cluster. Raises `Fatal`."""
        self._mapper.start()
        try:
            self._all_at_once(LocalRabbit.start)
            for node in self.nodes:
                node.ctl("await_online_nodes", str(len(self.nodes)))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all nodes, with their data. Harmless when repeated."""
        self._all_at_once(LocalRabbit.stop)
        self._mapper.stop()

    def partition(self, cut_off: LocalRabbit) -> None:
        """Cut one node off from the others: it closes what they had, and refuses their secret until `heal`.

        They stand still meanwhile. One that still saw the node while another had lost it would say so, and RabbitMQ
        takes that for a partial partition, in which nobody serves until every node is back.
        """
        cut_off.ctl(
            "eval",
            f"""
            Others = {self._others},
            Pids = [rpc:call(Other, os, getpid, []) || Other <- Others],
            Signal = fun(Name) -> [os:cmd("kill -" ++ Name ++ " " ++ Pid) || Pid <- Pids] end,
            Signal("STOP"),
            try [begin erlang:set_cookie(Other, parted), erlang:disconnect_node(Other) end || Other <- Others]
            after Signal("CONT") end.
            """,
        )

    def heal(self, cut_off: LocalRabbit) -> None:
        """Let a node that was cut off find the others again."""
        cut_off.ctl("eval", f"[erlang:set_cookie(Other, erlang:get_cookie()) || Other <- {self._others}].")

    @property
    def _others(self) -> str:
        """All nodes but the one that evaluates this, in Erlang."""
        names = ", ".join(f"'{name}'" for name in self._names)
        return f"[{names}] -- [node()]"

    def _all_at_once(self, what: Callable[[LocalRabbit], object]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(what, self.nodes))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
