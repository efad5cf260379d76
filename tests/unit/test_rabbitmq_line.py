"""Which node of a cluster a worker connects to: any, in any order, but the one it has left comes last."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
import structlog

from common.failures import PpsError
from common.rabbitmq import channel
from common.rabbitmq.address import Address, Node
from common.rabbitmq.line import connect

TURNS = 24


@pytest.fixture
def silent_nodes() -> Iterator[tuple[Node, ...]]:
    """Return nodes that take connections and say nothing, as frozen ones do."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield tuple(Node(host="127.0.0.1", port=one.getsockname()[1]) for one in listening)
    for one in listening:
        one.close()


async def test_each_node_has_its_time_and_the_one_that_was_left_comes_last(
    silent_nodes: tuple[Node, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that says nothing costs its deadline, so the one that just did so must not be tried first."""
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 0.01)
    address = Address(nodes=silent_nodes, user="u", password="p", vhost="v", tls=False)
    firsts = set()
    strays: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: strays.append(context))
    for _ in range(TURNS):
        with pytest.raises(PpsError) as failure:
            await connect(address, name="", on_lost=lambda: None, log=structlog.get_logger(), left=silent_nodes[1])
        tried = [said.split(": ")[1] for said in str(failure.value).split("; ")]
        assert sorted(tried) == sorted(map(str, silent_nodes))
        assert tried[-1] == str(silent_nodes[1])
        firsts.add(tried[0])
        assert str(failure.value).count("no answer: check host, port and firewall") == len(silent_nodes)
    assert len(firsts) == 2, "many workers spread over a cluster only if each draws its own order"
    assert not strays, "an attempt that is broken off leaves no error behind"
