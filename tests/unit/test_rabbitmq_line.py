"""Which node of a cluster a worker connects to: any, in any order, but the one it has left comes last."""

import asyncio
import socket

import pytest
import structlog

from common.failures import PpsError
from common.rabbitmq import channel
from common.rabbitmq.address import Address, Node
from common.rabbitmq.line import connect
from tests.servers.process import free_port

TURNS = 24
"""So many orders drawn, two nodes are never in the same one but once in eight million runs."""


def nodes_at(*ports: int) -> Address:
    """Return a cluster on this machine."""
    nodes = tuple(Node(host="127.0.0.1", port=port) for port in ports)
    return Address(nodes=nodes, user="u", password="p", vhost="v", tls=False)


async def refusals(address: Address, *, left: Node | None = None) -> list[str]:
    """Return what each node said, in the order in which they were tried."""
    with pytest.raises(PpsError) as failure:
        await connect(address, name="", on_lost=lambda: None, log=structlog.get_logger(), left=left)
    return [said.removeprefix("[service] broker: ") for said in str(failure.value).split("; ")]


async def test_the_node_that_was_left_is_tried_last_and_the_others_in_any_order() -> None:
    """Many workers spread over a cluster, and none begins with the node that just failed it."""
    address = nodes_at(free_port(), free_port(), free_port())
    left = address.nodes[1]
    firsts = set()
    for _ in range(TURNS):
        tried = [said.partition(": ")[0] for said in await refusals(address, left=left)]
        assert sorted(tried) == sorted(map(str, address.nodes))
        assert tried[-1] == str(left)
        firsts.add(tried[0])
    assert firsts == {str(node) for node in address.nodes if node != left}


async def test_a_node_that_says_nothing_costs_its_deadline_and_leaves_no_error_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is frozen takes connections. After its time the attempt is broken off, and says "no answer"."""
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 1)
    strays: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: strays.append(context))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (said,) = await refusals(nodes_at(silent.getsockname()[1]))
    assert said.endswith("no answer: check host, port and firewall")
    assert not strays
