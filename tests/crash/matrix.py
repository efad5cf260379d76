"""Every fault that is played on real processes, each at points drawn anew: what `make crash` repeats."""

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.crash import frozen
from tests.crash.clocks import jump_clock, skew_clocks
from tests.crash.disks import SIGNS, fill_disk, lock_ledger, small_disk
from tests.crash.installations import Cluster, behind, single
from tests.crash.kills import (
    crash_at,
    kill_at_random,
    kill_postgres,
    kill_rabbitmq,
    kill_rabbitmq_early,
    restart_postgres,
    restart_rabbitmq,
    route_twins,
    stop_at_a_frozen_target,
    stop_under_load,
    wipe_rabbitmq,
)
from tests.crash.mailboxes import cut_connections, cuts, poison, refuse_then_accept
from tests.crash.nodes import freeze_majority, freeze_node, kill_leaders
from tests.crash.points import BROKER_PLACES, LMTP_PLACES, MAILS, PLACES, Place
from tests.crash.queues import ALARMS, delete_queues, outlast_patience, raise_alarm
from tests.crash.restored import FORGOTTEN, restore_ledger
from tests.crash.scene import Drained, Scene
from tests.crash.service import ROLES
from tests.servers.cutting import CuttingRelay
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rabbitmq_cluster import RabbitCluster

CUTS: Final = 12
"""Connections that are cut before one may pass."""

KILLS: Final = 5
"""Random kills of each process before what they left is drained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the table: how its scene is set, what is done in it, and how much may come twice."""

    name: str
    scene: Callable[[], AbstractContextManager[Scene]]
    play: Callable[[Scene], Drained]
    doubles: int = 0
    forgets: frozenset[str] = frozenset()  # kinds of what `pps verify` may find in the end


class Faults:
    """All faults, on servers that run for all of them."""

    def __init__(self, servers: ExitStack, source: random.Random) -> None:
        self._source = source
        self._folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="pps-crash-")))
        self._dovecot = servers.enter_context(Dovecot())
        postgres, rabbitmq = servers.enter_context(Postgres()), servers.enter_context(RabbitMQ())
        self._cluster = Cluster(self._dovecot, postgres, rabbitmq, self._new_folder)
        servers.callback(self._cluster.close)
        self._nodes = Cluster(
            self._dovecot, postgres, servers.enter_context(closing(RabbitCluster())), self._new_folder
        )
        servers.callback(self._nodes.close)

    def all(self) -> Iterator[Fault]:
        """Yield each fault, at points drawn anew."""
        for place in (*PLACES, *LMTP_PLACES):
            yield self._in_one(place.at_random(self._source))
        yield self._one("random kills", "local", self._random(["run"] * KILLS))
        yield self._one("SIGTERM", "mda", self._stop("run"))
        yield self._one("SIGTERM, LMTP frozen", "mda", self._frozen("run"), doubles=1)
        yield from self._disks()
        yield from self._mailboxes()
        for place in (*PLACES, *BROKER_PLACES, *LMTP_PLACES):
            yield self._in_three(place.at_random(self._source))
        yield self._three("random kills", "local", self._random(self._source.sample([*ROLES] * KILLS, 3 * KILLS)))
        for role in ROLES:
            yield self._three(f"SIGTERM {role}", "mda", self._stop(role))
        yield self._three("SIGTERM deliverer, LMTP frozen", "mda", self._frozen("deliverer"), doubles=1)
        yield self._three("RabbitMQ killed", "local", lambda scene: kill_rabbitmq(self._cluster, scene))
        yield self._three("leaderless queues", "local", lambda scene: kill_rabbitmq_early(self._cluster, scene))
        yield self._three("queues deleted", "local", lambda scene: delete_queues(self._cluster, scene))
        yield self._three(
            "consumer timeout", "mda", lambda scene: outlast_patience(self._cluster, scene, self._dovecot)
        )
        for alarm in ALARMS:
            yield self._three(f"{alarm} alarm", "local", self._alarm(alarm))
        for role in ("router", "deliverer"):
            yield self._three(f"RabbitMQ wiped, {role} idle", "local", self._wipe(role))
        yield self._three("RabbitMQ restarted", "local", lambda scene: restart_rabbitmq(self._cluster, scene))
        yield self._three("PostgreSQL killed", "local", lambda scene: kill_postgres(self._cluster, scene))
        yield self._three("PostgreSQL restarted", "local", lambda scene: restart_postgres(self._cluster, scene))
        for point in frozen.PLACES:
            yield self._three(f"frozen past the lease at {point}", "local", self._frozen_past_lease(point))
        yield self._three("clocks wrong by an hour", "local", skew_clocks)
        yield self._three("two routers, mails stored twice", "local", lambda scene: route_twins(self._cluster, scene))
        yield self._three("password refused", "local", lambda scene: refuse_then_accept(scene, "fetcher"))
        yield self._three("poisonous mails", "local", poison)
        yield from self._on_nodes()

    def _on_nodes(self) -> Iterator[Fault]:
        plays = {
            "each leader killed": lambda scene: kill_leaders(self._nodes.nodes, scene),
            "a node frozen": lambda scene: freeze_node(self._nodes.nodes, scene),
            "two nodes frozen": lambda scene: freeze_majority(self._nodes.nodes, scene),
        }
        for name, play in plays.items():
            yield Fault(name=f"nodes: {name}", scene=lambda: self._nodes.scene(target="local"), play=play)

    def _disks(self) -> Iterator[Fault]:
        for part in SIGNS:
            yield Fault(
                name=f"one: disk full: {part}",
                scene=lambda part=part: self._on_small_disk(part),  # type: ignore[misc]  # (one lambda a part)
                play=lambda scene, part=part: fill_disk(scene, part),  # type: ignore[misc]  # (same)
            )
        yield self._one("ledger locked", "local", lock_ledger)
        yield self._one("clock jumps", "local", jump_clock, started=False)
        restored = self._one("ledger restored from a backup", "local", restore_ledger)
        yield replace(restored, forgets=FORGOTTEN)

    def _mailboxes(self) -> Iterator[Fault]:
        for tls in (False, True):
            relay = CuttingRelay(self._dovecot.pop3s_port if tls else self._dovecot.pop3_port, cuts(self._source, CUTS))
            yield Fault(
                name=f"one: connections cut{', TLS' if tls else ''}",
                scene=lambda relay=relay, tls=tls: self._behind(relay, tls=tls),  # type: ignore[misc]
                play=lambda scene, relay=relay: cut_connections(scene, relay),  # type: ignore[misc]
            )
        yield self._one("password refused", "local", lambda scene: refuse_then_accept(scene, "run"))
        yield self._one("poisonous mails", "local", poison)

    def _in_one(self, place: Place) -> Fault:
        play = self._stopped_first(place, "run", stop=False)
        return self._one(f"{place.label}, {place.target}", place.target, play, doubles=place.doubles, started=False)

    def _in_three(self, place: Place) -> Fault:
        play = self._stopped_first(place, place.command, stop=True)
        return self._three(f"{place.label}, {place.target}", place.target, play, doubles=place.doubles)

    def _one(
        self, name: str, target: str, play: Callable[[Scene], Drained], *, doubles: int = 0, started: bool = True
    ) -> Fault:
        return Fault(name=f"one: {name}", scene=lambda: self._single(target, started), play=play, doubles=doubles)

    def _three(self, name: str, target: str, play: Callable[[Scene], Drained], *, doubles: int = 0) -> Fault:
        return Fault(
            name=f"three: {name}", scene=lambda: self._cluster.scene(target=target), play=play, doubles=doubles
        )

    @contextmanager
    def _single(self, target: str, started: bool) -> Iterator[Scene]:  # noqa: FBT001 (private, and named where it is called)
        with single(self._dovecot, self._new_folder(), target=target) as scene:
            if started:
                scene.service.start("run")
            yield scene

    @contextmanager
    def _on_small_disk(self, part: str) -> Iterator[Scene]:
        folder = self._new_folder()
        with small_disk(folder / part), single(self._dovecot, folder, target="local") as scene:
            scene.service.start("run")
            yield scene

    @contextmanager
    def _behind(self, relay: CuttingRelay, *, tls: bool) -> Iterator[Scene]:
        with relay, behind(relay, self._dovecot, self._new_folder(), tls=tls) as scene:
            scene.service.start("run")
            yield scene

    def _stopped_first(self, place: Place, command: str, *, stop: bool) -> Callable[[Scene], Drained]:
        def play(scene: Scene) -> Drained:
            if stop:
                scene.service.stop(command)
            return crash_at(scene, command, place.point, mails=MAILS)

        return play

    def _random(self, commands: list[str]) -> Callable[[Scene], Drained]:
        return lambda scene: kill_at_random(scene, self._source, commands, mails=MAILS)

    def _stop(self, command: str) -> Callable[[Scene], Drained]:
        return lambda scene: stop_under_load(scene, command)

    def _frozen(self, command: str) -> Callable[[Scene], Drained]:
        return lambda scene: stop_at_a_frozen_target(scene, self._dovecot, command)

    def _frozen_past_lease(self, name: str) -> Callable[[Scene], Drained]:
        times = 1 if name == "fetcher.after_dele" else self._source.randint(1, MAILS)
        return lambda scene: frozen.freeze_past_lease(scene, f"{name}:{times}", until_drained=True)

    def _alarm(self, alarm: str) -> Callable[[Scene], Drained]:
        return lambda scene: raise_alarm(self._cluster, scene, alarm)

    def _wipe(self, idle: str) -> Callable[[Scene], Drained]:
        return lambda scene: wipe_rabbitmq(self._cluster, scene, idle)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))
