"""What a test's RabbitMQ node is told before it starts: environment, configuration, and whom it lets in."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.servers.certificates import Certificates
from tests.servers.process import free_port

VHOST: Final = "pps"
USER: Final = "pps-test"
PASSWORD: Final = "canary-broker-password"

RIGHTS: Final = {"configure": r"^pps\.", "write": r"^(pps\.|amq\.default$)", "read": r"^pps\."}
"""Those that deploy/rabbitmq/README.md tells an administrator to give."""

POLICIES: Final = Path(__file__).parent.parent.parent / "deploy" / "rabbitmq" / "definitions.json"

_COOKIE_MODE: Final = 0o600

_CHEAP: Final = "+S 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none"
"""One scheduler, which sleeps when it has nothing to do: test machines have few cores, and several nodes share them."""


def new_cookie() -> str:
    """Return what Erlang nodes that may talk to each other share."""
    return os.urandom(10).hex().upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What makes one node: its folder, its ports, its name."""

    folder: Path
    epmd_port: int  # of the daemon that knows under which port each Erlang node listens
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    dist_port: int = field(default_factory=free_port)

    @property
    def name(self) -> str:
        """What Erlang calls it."""
        return f"pps{self.port}@localhost"

    def environment(self) -> Mapping[str, str]:
        """Return what RabbitMQ's scripts read; nothing of the system's own node."""
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "10000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "60000",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_CHEAP} -kernel inet_dist_use_interface {{127,0,0,1}}",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def write(self, certificates: Certificates, cookie: str, more: Mapping[str, object]) -> None:
        """Write the node's files; `more` are keys of rabbitmq.conf."""
        folder = self.folder
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq-env.conf").touch()
        (folder / "advanced.config").write_text("[{kernel, [{net_ticktime, 15}]}].\n")  # as deploy/rabbitmq advises
        kept = folder / ".erlang.cookie"
        kept.write_text(cookie)
        kept.chmod(_COOKIE_MODE)
        (folder / "definitions.json").write_text(json.dumps(_definitions()))
        settings: dict[str, object] = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "listeners.ssl.local": f"127.0.0.1:{self.tls_port}",
            "ssl_options.certfile": certificates.chain,
            "ssl_options.keyfile": certificates.key,
            "load_definitions": folder / "definitions.json",
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            "log.file.level": "info",
            **more,
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
