"""Good command lines in surroundings that are wrong: files, folders, secrets, databases, servers."""

import sqlite3
from pathlib import Path
from typing import Final

from tests.bad_input.case import CANARY, CONFIG, BadInput, configured, nothing

GONE: Final = 1
"""A port of loopback on which nothing listens."""


def _no_config(folder: Path) -> None:
    (folder / "pps.toml").unlink()


def _binary(folder: Path) -> None:
    (folder / "pps.toml").write_bytes(b"[service]\nlog = '\xff\xfe'\n")


def _nul(folder: Path) -> None:
    (folder / "pps.toml").write_bytes(b"[service]\nlog = 'a\0b'\n")


def _byte_order_mark(folder: Path) -> None:
    text = CONFIG.replace("office", "ofice").replace("\n", "\r\n")
    (folder / "pps.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())


def _secret_for_all(folder: Path) -> None:
    (folder / "secret").write_text(CANARY)
    (folder / "secret").chmod(0o644)
    (folder / "pps.toml").write_text(CONFIG.replace("env:PPS_TEST_PASSWORD", "file:secret"))


def _no_secret(folder: Path) -> None:
    (folder / "pps.toml").write_text(CONFIG.replace("env:PPS_TEST_PASSWORD", "file:secret"))


def _failing_command(folder: Path) -> None:
    (folder / "pps.toml").write_text(CONFIG.replace("env:PPS_TEST_PASSWORD", f"command:false {CANARY}"))


def _corrupt(folder: Path) -> None:
    (folder / "pps.db").write_bytes(b"no database" * 100)


def _folder_for_ledger(folder: Path) -> None:
    (folder / "pps.db").mkdir()


def _newer(folder: Path) -> None:
    with sqlite3.connect(folder / "pps.db") as ledger:
        ledger.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        ledger.execute("INSERT INTO alembic_version VALUES ('9999')")
    ledger.close()


def _folder_for_log(folder: Path) -> None:
    (folder / "pop3.log").mkdir()


def _target_secret_unset(folder: Path) -> None:
    account = 'user = "pps"\npassword = "env:PPS_TEST_UNSET"\n'
    url = 'url = "maildir:mail/{user}?create=yes"\n'
    (folder / "pps.toml").write_text(CONFIG.replace(url, f'url = "lmtp://127.0.0.1:{GONE}"\n{account}'))


def _no_profile(folder: Path) -> None:
    (folder / "pps.toml").write_text("")


SURROUNDINGS: Final = (
    BadInput(
        name="no configuration",
        arguments=("run",),
        prints="pps.toml: there is no such file: `pps init` writes one, --config names another",
        set_up=_no_config,
    ),
    BadInput(
        name="a folder for the configuration",
        arguments=("run", "--config", "."),
        prints=".: can't read it: Is a directory",
    ),
    BadInput(
        name="endless configuration",
        arguments=("status", "--config", "/dev/zero"),
        prints="/dev/zero: is larger than 16777216 octets: that is no configuration",
    ),
    BadInput(
        name="configuration that isn't UTF-8",
        arguments=("status",),
        prints="pps.toml: line 2: isn't UTF-8 text: save the file as UTF-8",
        set_up=_binary,
    ),
    BadInput(
        name="NUL in the configuration",
        arguments=("status",),
        prints="pps.toml: line 2, column 9: Found invalid character '\\x00': take the control character out",
        set_up=_nul,
    ),
    BadInput(
        name="Windows' byte order mark and line ends are read",
        arguments=("pull", "office"),
        prints='pps.toml: no profile "office": did you mean "ofice"?',
        set_up=_byte_order_mark,
    ),
    BadInput(
        name="PPS_CONFIG that leads nowhere",
        arguments=("status",),
        prints="/nowhere/pps.toml: there is no such file: `pps init` writes one, --config names another",
        environment={"PPS_CONFIG": "/nowhere/pps.toml"},
    ),
    BadInput(
        name="nothing to pull",
        arguments=("pull",),
        prints="pps.toml: there is no enabled [[profile]] to pull: `pps profile add` asks for one",
        set_up=_no_profile,
    ),
    BadInput(
        name="secret that isn't set",
        arguments=("pull",),
        prints="office: password: env:PPS_TEST_PASSWORD: the environment variable PPS_TEST_PASSWORD isn't set: export "
        "it, or name another",
        code=1,
    ),
    BadInput(
        name="secret file that isn't there",
        arguments=("pull",),
        prints="office: password: file:{folder}/secret: can't read it: No such file or directory",
        code=1,
        set_up=_no_secret,
    ),
    BadInput(
        name="secret file that others may read",
        arguments=("pull",),
        prints="office: password: file:{folder}/secret: others than its owner may use it: chmod 600 {folder}/secret",
        code=1,
        set_up=_secret_for_all,
    ),
    BadInput(
        name="secret of a command that fails",
        arguments=("pull",),
        prints="office: password: command:false: ended with exit code 1: run it by hand to see why",
        code=1,
        set_up=_failing_command,
    ),
    BadInput(
        name="target's secret that isn't set",
        arguments=("run",),
        prints="[target.local] password: env:PPS_TEST_UNSET: the environment variable PPS_TEST_UNSET isn't set: export "
        "it, or name another",
        code=1,
        set_up=_target_secret_unset,
    ),
    BadInput(
        name="ledger that isn't a database",
        arguments=("run",),
        prints="[service] ledger: can't use {folder}/pps.db: file is not a database",
        code=1,
        set_up=_corrupt,
    ),
    BadInput(
        name="folder for the ledger",
        arguments=("pull",),
        prints="pps.toml: [service] ledger: {folder}/pps.db is a folder: name a file in it",
        code=1,
        set_up=_folder_for_ledger,
    ),
    BadInput(
        name="ledger in a folder that isn't there",
        arguments=("migrate",),
        prints="[service] ledger: there is no folder {folder}/gone: make it, or name another place",
        code=1,
        set_up=configured('ledger = "sqlite:///gone/pps.db"'),
    ),
    BadInput(
        name="ledger of a newer version",
        arguments=("run",),
        prints="the ledger is of a newer PPS (schema 9999, this one knows {schema}): upgrade PPS",
        code=1,
        set_up=_newer,
    ),
    BadInput(
        name="folder for the log",
        arguments=("run",),
        prints="[service] log: can't write {folder}/pop3.log: Is a directory",
        set_up=_folder_for_log,
    ),
    BadInput(
        name="status before anything ran",
        arguments=("status",),
        prints="pps.toml: nothing ran yet: `pps run` or `pps pull` makes the ledger",
        code=1,
    ),
    BadInput(
        name="PostgreSQL that isn't there",
        arguments=("status",),
        prints=f"pps.toml: [service] ledger: can't use 127.0.0.1:{GONE}/pps: nothing listens there: check the port, "
        "and that PostgreSQL runs",
        code=1,
        set_up=configured(f'ledger = "postgresql://pps:{CANARY}@127.0.0.1:{GONE}/pps"'),
    ),
    BadInput(
        name="RabbitMQ that isn't there",
        arguments=("pull",),
        prints=f"[service] broker: 127.0.0.1:{GONE}: nothing listens there: check the port, and that RabbitMQ runs",
        code=1,
        set_up=configured(f'broker = "amqp://pps:{CANARY}@127.0.0.1:{GONE}/pps"'),
    ),
    BadInput(
        name="broker without user and password",
        arguments=("pull",),
        prints="[service] broker: user and password are missing; write it as amqp://user:password@host:5672/vhost",
        set_up=configured('broker = "amqp://localhost"'),
    ),
    BadInput(
        name="reload where nothing runs",
        arguments=("reload",),
        prints="reload: no service runs (nobody holds {folder}/pps.db.lock): `pps run` starts one; one that began "
        "before `ledger` was changed has to be stopped and started",
        code=1,
        set_up=nothing,
    ),
)
