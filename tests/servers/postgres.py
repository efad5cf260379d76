"""PostgreSQL as the ledger's database: one cluster in a temporary folder, and a fresh database for each test.

As root it runs as Debian's postgres user, since PostgreSQL refuses root; otherwise as whoever starts the tests.
"""

import contextlib
import itertools
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from tests.servers.certificates import Certificates
from tests.servers.process import Process, as_user, free_port, give, program

PACKAGE: Final = "postgresql"
ROLE: Final = "pps"
PASSWORD: Final = "secret"
_SUPERUSER: Final = "postgres"

_HBA: Final = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


def binaries() -> str:
    """Return the folders of PostgreSQL's programs as a search path, the newest version first."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return ":".join(str(folder) for folder in sorted(folders, key=_version, reverse=True))


def _version(folder: Path) -> float:
    with contextlib.suppress(ValueError):
        return float(folder.parent.name)
    return 0.0


class Postgres:
    """A PostgreSQL of its own. `with Postgres() as postgres:` starts, stops and removes it.

    Nothing is synced to disk, which only a power cut could show: `durable=True` syncs, for measurements. With `tls` it
    takes TCP connections by TLS only, and shows that certificate.
    """

    host = "127.0.0.1"

    def __init__(self, *, durable: bool = False, tls: Certificates | None = None, buffers: str = "32MB") -> None:
        self._postgres = program("postgres", package=PACKAGE, folders=binaries())
        self._bin = Path(self._postgres).resolve().parent
        self._user = _SUPERUSER  # changes to it only as root
        self.port = free_port()
        # Not pytest's tmp_path: the paths of Unix sockets end at 107 octets.
        self.folder = Path(tempfile.mkdtemp(prefix="pps-postgres-"))
        give(self.folder, self._user)
        self._names = itertools.count(1)
        self._process: Process | None = None
        try:
            self._initialise(durable=durable, tls=tls, buffers=buffers)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it and remove its folder."""
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster; only while it runs."""
        if self._process is None or not self._process.running:
            raise RuntimeError("this PostgreSQL is not running")
        return self._process.pid

    @property
    def url(self) -> str:
        """The database that is always there: postgresql://pps:secret@127.0.0.1:PORT/pps."""
        return self.url_of("pps")

    def url_of(self, database: str) -> str:
        """Return the URL of a database by name, for its owner."""
        return f"postgresql://{ROLE}:{PASSWORD}@{self.host}:{self.port}/{database}"

    def fresh_database(self, *, owner: str = ROLE, template: str = "template1") -> str:
        """Make a database that belongs to the role, empty unless it is made from another, and return its URL."""
        name = f"fresh{next(self._names)}"
        self.query(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}")
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Remove a database, cutting whoever is connected to it."""
        self.query(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def query(self, sql: str, *, database: str = "postgres") -> str:
        """Run SQL as the superuser; return rows as lines, columns separated by `|`."""
        return self._psql(database, "-c", sql).strip()

    def run_file(self, script: Path, *, database: str) -> None:
        """Run a file of psql's commands as the superuser."""
        own = self.folder / script.name  # the folders above the original may be closed to that user
        shutil.copyfile(script, own)
        own.chmod(0o644)
        self._psql(database, "-f", str(own))

    def start(self) -> None:
        """Start it, and return once it takes queries. The port stays the same over restarts."""
        if self._process is not None and self._process.running:
            return
        command = [*as_user(self._user), self._postgres, "-D", str(self._data)]
        self._process = Process(command, folder=self.folder, log=self.folder / "postgres.log")
        self._process.wait_until(self._ready)

    def stop(self) -> None:
        """Stop it ("fast": connections are cut, what is committed is kept)."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster and all its backends at once; the next start recovers from the log."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove all it held."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _ready(self) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-h", self.host, "-p", str(self.port), "-d", "postgres"]
        return subprocess.run(command, check=False).returncode == 0

    def _psql(self, database: str, *what: str) -> str:
        return self._run(
            "psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port),
            "-U", _SUPERUSER, "-d", database, *what,
        )  # fmt: skip

    def _show(self, tls: Certificates) -> None:
        for source, name in ((tls.chain, "server.crt"), (tls.key, "server.key")):
            own = self._data / name
            shutil.copyfile(source, own)
            own.chmod(0o600)
            give(own, self._user)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\n")
        (self._data / "pg_hba.conf").write_text(_HBA.replace("host ", "hostssl "))

    def _initialise(self, *, durable: bool, tls: Certificates | None, buffers: str) -> None:
        self._run(
            "initdb", "-D", str(self._data), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        # Without fsync a killed server still keeps its commits, as long as synchronous_commit stays on.
        safe = "on" if durable else "off"
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '{self.host}'\nport = {self.port}\nunix_socket_directories = '{self.folder}'\n"
                f"max_connections = 200\nshared_buffers = {buffers}\n"
                f"fsync = {safe}\nfull_page_writes = {safe}\n"
            )
        (self._data / "pg_hba.conf").write_text(_HBA)
        if tls is not None:
            self._show(tls)
        self.start()
        self.query(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        self.query(f"CREATE DATABASE pps OWNER {ROLE}")
        self.stop()

    def _run(self, name: str, *arguments: str) -> str:
        command = [*as_user(self._user), str(self._bin / name), *arguments]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.folder)
        if ran.returncode != 0:
            raise RuntimeError(f"{name}: {ran.stderr.strip()}")
        return ran.stdout
