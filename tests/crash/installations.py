"""The two forms in which the service is installed, each with scenes to play: one process, and one for each role."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.command import pps
from tests.crash.rows import PostgresRows, Rows, SqliteRows
from tests.crash.scene import ENVIRONMENT, Scene, config, new_boxes
from tests.crash.service import ROLES, Service
from tests.servers.cutting import CuttingRelay
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rabbitmq_cluster import RabbitCluster


@contextmanager
def single(dovecot: Dovecot, folder: Path, *, target: str, port: str = "", ca: str = "") -> Iterator[Scene]:
    """Yield a scene for `pps run` with SQLite and the embedded broker, in a folder of its own; it is not started.

    `port` and `ca` are for a way to the mailbox other than Dovecot's plain port. The ledger stands in `ledger/`, blobs
    in `blobs/`, mail in `mail/`: each may be a disk of its own.
    """
    boxes = new_boxes(dovecot)
    (folder / "ledger").mkdir(exist_ok=True)
    written = config(dovecot, boxes, ledger="sqlite:///ledger/pps.db", broker="memory:", port=port, ca=ca)
    (folder / "pps.toml").write_text(written)
    service = Service(folder, commands=("run",), environment=ENVIRONMENT)
    try:
        yield Scene(service, SqliteRows(folder / "ledger" / "pps.db"), dovecot, box=boxes[target], target=target)
        faults = service.faults()
        assert not faults, faults
    finally:
        service.close()


@contextmanager
def behind(relay: CuttingRelay, dovecot: Dovecot, folder: Path, *, tls: bool) -> Iterator[Scene]:
    """Yield the same with the mailbox behind a relay to Dovecot's plain port, or to the one with TLS."""
    assert dovecot.certificates is not None
    way = {"port": f"{relay.port}s", "ca": str(dovecot.certificates.ca)} if tls else {"port": str(relay.port)}
    with single(dovecot, folder, target="local", **way) as scene:
        yield scene


class Cluster:
    """A fetcher, a router and a deliverer on RabbitMQ and PostgreSQL. They go on from scene to scene.

    A scene that fails, or leaves work undone, leaves nothing to the next: all begins anew in a fresh database and a
    fresh folder. (A test that fails does not fail its fixture, so what it left is looked for.)
    """

    def __init__(
        self,
        dovecot: Dovecot,
        postgres: Postgres,
        rabbitmq: RabbitMQ | RabbitCluster,
        new_folder: Callable[[], Path],
    ) -> None:
        self.postgres = postgres
        self._broker = rabbitmq
        self._dovecot = dovecot
        self._new_folder = new_folder
        self._service: Service | None = None

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The one node, where there is one."""
        assert isinstance(self._broker, RabbitMQ)
        return self._broker

    @property
    def nodes(self) -> RabbitCluster:
        """The three, where there are three."""
        assert isinstance(self._broker, RabbitCluster)
        return self._broker

    @contextmanager
    def scene(self, *, target: str) -> Iterator[Scene]:
        """Yield an empty scene while all three roles run."""
        self.postgres.start()
        self._broker.start()
        if self._service is None:
            self._begin()
        assert self._service is not None
        service = self._service
        try:
            service.start_all()
            scene = Scene(service, self._rows, self._dovecot, box=self._boxes[target], target=target)
            yield scene
            faults = service.faults()
            assert not faults, faults
            self.postgres.start()  # a test that failed may have left it killed
            undone = not scene.is_drained
        except BaseException:
            self._forget()
            raise
        if undone:
            self._forget()

    def _forget(self) -> None:
        self.close()
        self._broker.wipe()

    def close(self) -> None:
        """Kill the processes; the next scene begins anew."""
        if self._service is not None:
            self._service.close()
        self._service = None

    def _begin(self) -> None:
        folder = self._new_folder()
        self._boxes = new_boxes(self._dovecot)
        database = self.postgres.fresh_database()
        written = config(self._dovecot, self._boxes, ledger=database, broker=self._broker.url)
        (folder / "pps.toml").write_text(written)
        migrated = pps("migrate", folder=folder, environment=ENVIRONMENT)
        assert migrated.code == 0, migrated.err
        self._rows: Rows = PostgresRows(self.postgres, database.rpartition("/")[2])
        self._service = Service(folder, commands=ROLES, environment=ENVIRONMENT)
