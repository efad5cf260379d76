"""Three RabbitMQ nodes that are one cluster: started together, and killed or frozen one by one.

A test asks for the fixture `rabbitmq_cluster` (all three run when it begins) and gives workers its `url`, which names
all three. What isn't a test writes `with RabbitCluster() as cluster`. It costs 11 s of CPU to start, 400 MB, and next
to nothing while idle.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from tests.servers.rabbitmq import START_SECONDS, VHOST, Epmd, RabbitMQ, broker_url
from tests.servers.rabbitmq_settings import new_cookie

SIZE: Final = 3

SETTINGS: Final = {
    "cluster_formation.peer_discovery_backend": "classic_config",
    "cluster_formation.discovery_retry_limit": 300,
    "cluster_partition_handling": "autoheal",  # as deploy/rabbitmq advises
    "raft.wal_max_size_bytes": 64 * 1024 * 1024,
}


class RabbitCluster:
    """Three nodes. With two of them it works."""

    def __init__(self) -> None:
        self._epmd = Epmd()
        cookie = new_cookie()
        self.nodes = tuple(RabbitMQ(epmd=self._epmd, cookie=cookie) for _ in range(SIZE))
        # The first begins alone and the others wait for it: nodes that all wait for each other never begin.
        seed, *others = self.nodes
        seed.configure(SETTINGS)
        for node in others:
            node.configure({**SETTINGS, "cluster_formation.classic_config.nodes.1": seed.name})

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What `[service] broker` would hold."""
        return broker_url([node.port for node in self.nodes])

    def start(self) -> None:
        """Return once all nodes take connections and know each other; those that run are left alone.

        One that was frozen is killed first: by itself it would be a minute before it is healed.
        """
        if all(node.is_sound for node in self.nodes):
            return
        for node in self.nodes:
            if not node.is_sound:
                node.kill()
        self._epmd.start()
        with ThreadPoolExecutor(SIZE) as starting:
            list(starting.map(RabbitMQ.start, self.nodes))
        deadline = time.monotonic() + START_SECONDS
        while not self._is_whole():  # a node that was frozen for long first finds that it was alone, and comes back
            assert time.monotonic() < deadline, self.nodes[0].ctl("cluster_status")

    def _is_whole(self) -> bool:
        """Whether each node sees all others."""
        question = "length(rabbit_nodes:all_running())."
        try:
            return all(node.ctl("eval", question).strip() == str(SIZE) for node in self.nodes)
        except RuntimeError:  # it has yet to come back
            return False

    def wipe(self) -> None:
        """Kill all nodes, lose all queues and messages, and start them again."""
        for node in self.nodes:
            node.lose_data()
        self.start()

    def close(self) -> None:
        """End everything and remove the folders."""
        for node in self.nodes:
            node.close()
        self._epmd.close()

    def leaders(self) -> dict[str, RabbitMQ]:
        """Return which node leads each queue, as those see it that are up."""
        listed = self._ask("list_queues", "--vhost", VHOST, "--no-table-headers", "name", "leader")
        return {queue: self._by_name(leader) for queue, _, leader in (line.partition("\t") for line in listed)}

    def busiest(self) -> RabbitMQ:
        """Return the node with the most connections."""
        listed = self._ask("list_connections", "--no-table-headers", "pid")  # "<node.creation.id.serial>"
        counted = Counter(pid.removeprefix("<").rsplit(".", 3)[0] for pid in listed)
        return self._by_name(counted.most_common(1)[0][0])

    def _ask(self, *arguments: str) -> list[str]:
        asked = next(node for node in self.nodes if node.is_up)
        return asked.ctl(*arguments).splitlines()

    def _by_name(self, name: str) -> RabbitMQ:
        return next(node for node in self.nodes if node.name == name)
