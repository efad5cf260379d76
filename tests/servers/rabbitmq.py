"""A private RabbitMQ node for tests: own ports, own epmd, own data, loopback only; stopped by its own process id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from tests.servers.certificates import issue
from tests.servers.process import free_port
from tests.servers.rabbitmq_settings import PASSWORD, RIGHTS, USER, VHOST, Node, new_cookie

__all__ = ["PASSWORD", "RIGHTS", "USER", "VHOST", "Epmd", "RabbitMQ", "scripts"]

SCRIPTS: Final = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/sbin"))
"""Debian's scripts under /usr/sbin change to the system's own user and folder; those under /usr/lib don't."""

START_SECONDS: Final = 150
"""A node starts in 5 s on an idle machine; three at once on two busy cores take far longer."""

CTL_SECONDS: Final = 120


def scripts() -> Path | None:
    """Return the folder of RabbitMQ's scripts, or None where it isn't installed."""
    return next((folder for folder in SCRIPTS if (folder / "rabbitmq-server").exists()), None)


def broker_url(ports: Iterable[int], *, scheme: str = "amqp", host: str = "127.0.0.1") -> str:
    """Return what `[service] broker` would hold for the nodes with these ports."""
    places = ",".join(f"{host}:{port}" for port in ports)
    return f"{scheme}://{USER}:{PASSWORD}@{places}/{VHOST}"


class Epmd:
    """The daemon that knows under which port each Erlang node listens; one of our own, on a port of our own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it; one that runs already is left alone."""
        if self._process is None:
            self._process = subprocess.Popen(
                ["epmd", "-address", "127.0.0.1", "-port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RabbitMQ:
    """One node with the vhost "pps" and one user with the rights that PPS needs; nobody else, no `guest`.

    It speaks TLS on another port, with a certificate for localhost and 127.0.0.1 of an authority of its own. `epmd` and
    `cookie` are what the nodes of a cluster share.
    """

    def __init__(self, *, epmd: Epmd | None = None, cookie: str = "") -> None:
        found = scripts()
        if found is None:
            raise FileNotFoundError("rabbitmq-server isn't installed: apt install rabbitmq-server")
        self._scripts = found
        self._folder = Path(tempfile.mkdtemp(prefix="pps-rabbitmq-"))
        self._epmd = epmd or Epmd()
        self._owns_epmd = epmd is None
        self._node = Node(folder=self._folder, epmd_port=self._epmd.port)
        self._server: subprocess.Popen[bytes] | None = None
        self._frozen = self._was_frozen = False
        self.certificates = issue(self._folder)
        self._cookie = cookie or new_cookie()
        self.configure({})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it takes connections without TLS."""
        return self._node.port

    @property
    def name(self) -> str:
        """What Erlang, and with it rabbitmqctl, calls it."""
        return self._node.name

    @property
    def url(self) -> str:
        """What `[service] broker` would hold."""
        return broker_url([self._node.port])

    @property
    def tls_url(self) -> str:
        """The same with TLS."""
        return broker_url([self._node.tls_port], scheme="amqps")

    @property
    def authority(self) -> Path:
        """The file with the certificate that a client has to trust."""
        return self.certificates.ca

    @property
    def pid(self) -> int:
        """The Erlang machine's process id: to freeze it, say."""
        assert self._server is not None
        return self._server.pid

    @property
    def is_sound(self) -> bool:
        """Whether it runs and was never frozen: what the others took for dead isn't one of them at once."""
        return self._server is not None and not self._was_frozen

    @property
    def is_up(self) -> bool:
        """Whether it runs and is not frozen."""
        return self._server is not None and not self._frozen

    def configure(self, settings: Mapping[str, object]) -> None:
        """Have these keys in rabbitmq.conf, beside the usual, from its next start on."""
        self._node.write(self.certificates, self._cookie, settings)

    def start(self) -> None:
        """Return once the node takes connections; one that runs already is left alone."""
        if self._server is not None:
            return
        self._epmd.start()
        notices = self._folder / "notify"
        notices.unlink(missing_ok=True)
        console = (self._folder / "console.log").open("ab")
        with console, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(notices))
            self._server = subprocess.Popen(
                [self._scripts / "rabbitmq-server"],
                env={**self._node.environment(), "NOTIFY_SOCKET": str(notices)},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._await_ready(receiver)

    def stop(self) -> None:
        """Shut the node down in order; its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves; its data stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut down in order, and start again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = self._was_frozen = True

    def thaw(self) -> None:
        """End `freeze`; one that isn't frozen is left alone."""
        if self._frozen:
            os.kill(self.pid, signal.SIGCONT)
            self._frozen = False

    def sync_names(self) -> None:
        """Have the names of all queues on disk, as RabbitMQ itself would some seconds after a queue was first declared.

        A 3.10 node that is killed before that finds the queue's log but not whose it is, and the queue stays without
        a leader for good: RabbitMQ's fault, which would hide ours.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def lose_leaders(self, queues: Iterable[str]) -> None:
        """Kill the node and start it again, as if it had been killed before these queues' names were on disk."""
        names = ", ".join(f"'{VHOST}_{queue}'" for queue in queues)
        self.ctl(
            "eval", f"[begin dets:delete(Table, Name), dets:sync(Table) end || Table <- dets:all(), Name <- [{names}]]."
        )
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Kill the node, lose all its queues and messages, and start it again."""
        self.lose_data()
        self.start()

    def lose_data(self) -> None:
        """Kill the node, and lose all its queues and messages."""
        self.kill()
        shutil.rmtree(self._folder / "mnesia", ignore_errors=True)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it prints."""
        done = subprocess.run(
            [self._scripts / "rabbitmqctl", "--node", self.name, "--quiet", *arguments],
            env=self._node.environment(),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=CTL_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End everything and remove the folder."""
        self.kill()
        if self._owns_epmd:
            self._epmd.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await_ready(self, receiver: socket.socket) -> None:
        """Wait for the node's own word, as systemd would; a node that died instead is told from one that is slow."""
        assert self._server is not None
        deadline = time.monotonic() + START_SECONDS
        receiver.settimeout(0.5)
        while time.monotonic() < deadline and self._server.poll() is None:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in receiver.recv(4096):
                    return
        said = (self._folder / "console.log").read_text(errors="replace")[-2000:]
        self.close()
        raise RuntimeError(f"RabbitMQ did not start:\n{said}")

    def _end(self, with_signal: signal.Signals) -> None:
        server, self._server, self._frozen, self._was_frozen = self._server, None, False, False
        if server is None:
            return
        server.send_signal(with_signal)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        # The group holds the node's helpers only (name resolver, child setup); they end with it, at the latest now.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
