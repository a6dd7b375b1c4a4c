"""Ports for a program that is about to listen."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker import processes
from broker.errors import Fatal
from broker.processes import free_ports


def test_ports_are_free_and_all_different() -> None:
    ports = free_ports(8)

    assert len(set(ports)) == 8
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


def test_no_port_is_one_that_the_system_gives_to_connections() -> None:
    low, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())

    assert max(free_ports(8)) < low


def test_ports_that_somebody_listens_on_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two ports, one of them in use
    used, free = free_ports(2)
    with socket.create_server(("127.0.0.1", used)):
        monkeypatch.setattr(processes, "PORTS", (used, free))
        # Then
        assert free_ports(1) == [free]


def test_without_a_free_port_an_error_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    used = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", used)):
        monkeypatch.setattr(processes, "PORTS", range(used, used + 1))
        with pytest.raises(Fatal, match=f"no port of {used} to {used} is free on this machine"):
            free_ports(1)
