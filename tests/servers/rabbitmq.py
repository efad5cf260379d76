"""A private RabbitMQ node for tests: own ports, own epmd, own data, loopback only; stopped by its own process id."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.servers.process import free_port

SCRIPTS: Final = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/sbin"))
"""Debian's scripts under /usr/sbin change to the system's own user and folder; those under /usr/lib don't."""

START_SECONDS: Final = 90
"""A node starts in 5 s on an idle machine; two busy cores take far longer."""

VHOST: Final = "pps"
USER: Final = "pps-test"
PASSWORD: Final = "canary-broker-password"

RIGHTS: Final = {"configure": r"^pps\.", "write": r"^(pps\.|amq\.default$)", "read": r"^pps\."}
"""Those that deploy/rabbitmq/README.md tells an administrator to give."""

_COOKIE_MODE: Final = 0o600


def scripts() -> Path | None:
    """Return the folder of RabbitMQ's scripts, or None where it isn't installed."""
    return next((folder for folder in SCRIPTS if (folder / "rabbitmq-server").exists()), None)


class RabbitMQ:
    """One node with the vhost "pps" and one user with the rights that PPS needs; nobody else, no `guest`."""

    def __init__(self) -> None:
        found = scripts()
        if found is None:
            raise FileNotFoundError("rabbitmq-server isn't installed: apt install rabbitmq-server")
        self._scripts = found
        self._folder = Path(tempfile.mkdtemp(prefix="pps-rabbitmq-"))
        self.port, self._epmd_port, self._dist_port = free_port(), free_port(), free_port()
        self._node = f"pps{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._write_settings()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What `[service] broker` would hold."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{VHOST}"

    @property
    def pid(self) -> int:
        """The Erlang machine's process id: to freeze it, say."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Return once the node takes connections; one that runs already is left alone."""
        if self._server is not None:
            return
        if self._epmd is None:
            self._start_epmd()
        notices = self._folder / "notify"
        notices.unlink(missing_ok=True)
        console = (self._folder / "console.log").open("ab")
        with console, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(notices))
            self._server = subprocess.Popen(
                [self._scripts / "rabbitmq-server"],
                env={**self._environment(), "NOTIFY_SOCKET": str(notices)},
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

    def sync_names(self) -> None:
        """Have the names of all queues on disk, as RabbitMQ itself would some seconds after a queue was first declared.

        A 3.10 node that is killed before that finds the queue's log but not whose it is, and the queue stays without
        a leader for good: RabbitMQ's fault, which would hide ours.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def wipe(self) -> None:
        """Kill the node, lose all its queues and messages, and start it again."""
        self.kill()
        shutil.rmtree(self._folder / "mnesia")
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it prints."""
        command = [str(self._scripts / "rabbitmqctl"), "--node", self._node, "--quiet", *arguments]
        done = subprocess.run(
            command, env=self._environment(), cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End everything and remove the folder."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_epmd(self) -> None:
        self._epmd = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

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
        server, self._server = self._server, None
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

    def _environment(self) -> Mapping[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "10000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "60000",
            # One scheduler: the machines that run tests have few cores, and several nodes may share them.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +SDio 2 -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _write_settings(self) -> None:
        folder = self._folder
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq-env.conf").touch()
        cookie = folder / ".erlang.cookie"
        cookie.write_text(hashlib.sha256(os.urandom(16)).hexdigest()[:20].upper())
        cookie.chmod(_COOKIE_MODE)
        (folder / "definitions.json").write_text(json.dumps(_definitions()))
        settings = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "load_definitions": folder / "definitions.json",
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            "log.file.level": "info",
        }
        (folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))


def _definitions() -> dict[str, object]:
    rights = {"user": USER, "vhost": VHOST, **RIGHTS}
    user = {"name": USER, "password_hash": _password_hash(PASSWORD), "tags": ""}
    return {"vhosts": [{"name": VHOST}], "users": [user], "permissions": [rights]}


def _password_hash(password: str) -> str:
    """Return RabbitMQ's stored form: base64 of salt and SHA-256 over salt and password."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
