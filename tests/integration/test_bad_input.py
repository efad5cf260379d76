"""What is wrong in a configuration, a mailbox or the world around costs one line that says so, and no mail."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.memory_broker import MemoryBroker
from tests.command import Ended, tree
from tests.integration.service import (
    MAILDIR,
    ROLES,
    Installation,
    catch_all,
    install,
    profile,
    traces,
    wait_until,
)
from tests.mails import mail
from tests.servers.certificates import issue
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.smtp import SmtpServer

CANARY = "canary-7f3a91"


def only_line(ended: Ended, *, code: int, says: tuple[str, ...]) -> None:
    """Assert that a command failed with one line that says all this, and gave away nothing."""
    assert (ended.code, ended.err.count("\n")) == (code, 1), ended
    assert ended.err.startswith("pps: ")
    assert [word for word in says if word not in ended.err] == [], ended.err
    assert "Traceback" not in ended.err + ended.out
    assert CANARY not in ended.err + ended.out


@asynccontextmanager
async def impostor(folder: Path) -> AsyncIterator[int]:
    """Listen with TLS and a certificate, of an authority that is in `folder`, for another name."""
    certificates = issue(folder, "other.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK ready\r\n")
        with contextlib.suppress(OSError):
            await writer.drain()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


BadAccounts = dict[str, tuple[dict[str, object], tuple[str, ...]]]


@pytest.fixture
def bad_accounts(mailbox: Mailbox) -> BadAccounts:
    """Return profiles that can't be polled: their keys, and what must be said of each."""
    dovecot = mailbox.dovecot
    closed = free_port()
    tls = f"localhost {dovecot.pop3s_port}s"
    return {
        "password": ({}, ("sign-in", "check user and password")),
        "nowhere": ({"server": "pop.nowhere.invalid 110"}, ("pop.nowhere.invalid", "check the name in server")),
        "closed": ({"server": f"127.0.0.1 {closed}"}, (str(closed), "check the port in server")),
        "untrusted": ({"server": tls}, (tls, "certificate", "ca")),
        "not-pop3": ({"server": f"127.0.0.1 {dovecot.lmtp_port}"}, ("does not speak POP3", "check host and port")),
        "no-secret": ({"password": "file:missing"}, ("password", "missing")),
        "no-ca": ({"server": tls, "ca": "missing.pem"}, ("missing.pem", "ca")),
    }


def with_good_one(mailbox: Mailbox, folder: Path, bad: BadAccounts) -> Installation:
    """Set up all the bad profiles, and a good one whose mailbox holds a mail."""
    mailbox.plant(mail())
    tables = [profile(mailbox, name, **{"user": f"{name}-{mailbox.user}", **keys}) for name, (keys, _) in bad.items()]
    mailbox.dovecot.add_user(f"password-{mailbox.user}", "another password")
    there = install(folder, *tables, profile(mailbox, "good"), password=CANARY)
    (folder / "good.secret").write_text(mailbox.password)
    return there


def test_each_bad_account_costs_a_line_and_the_good_one_is_pulled(
    mailbox: Mailbox, tmp_path: Path, bad_accounts: BadAccounts
) -> None:
    """The profile is named, what is wrong and what to mend; no password shows anywhere."""
    there = with_good_one(mailbox, tmp_path, bad_accounts)

    ended = there.pps("pull")

    lines = ended.err.splitlines()
    assert ended.code == 1
    assert len(lines) == len(bad_accounts), ended.err
    for name, (_, says) in bad_accounts.items():
        [line] = [line for line in lines if line.startswith(f"pps: {name}: ")]
        assert [word for word in says if word not in line] == [], line
    assert (there.counts(), mailbox.remaining()) == ({"ann": 1}, [])
    assert CANARY not in ended.out + ended.err
    assert traces(tmp_path, CANARY.encode()) == []


def test_a_service_goes_on_beside_bad_accounts(mailbox: Mailbox, tmp_path: Path, bad_accounts: BadAccounts) -> None:
    """It polls the good one, shows the others' errors in status, and ends well when asked to."""
    there = with_good_one(mailbox, tmp_path, bad_accounts)

    with there.running("run"):
        wait_until(lambda: len(there.events("poll_ended")) > len(bad_accounts))
        shown = {one["name"]: one["last_error"] or "" for one in there.status()["profiles"]}

    assert shown.pop("good") == ""
    for name, (_, says) in bad_accounts.items():
        assert [word for word in says if word not in shown[name]] == [], shown[name]
    assert there.counts() == {"ann": 1}
    assert not there.events("poll_crashed")
    assert "exception" not in (tmp_path / "pop3.log").read_text()


async def test_a_certificate_for_another_name_is_refused(mailbox: Mailbox, tmp_path: Path) -> None:
    """Although its authority is trusted: the server isn't the one that was asked for."""
    async with impostor(tmp_path) as port:
        there = install(tmp_path, profile(mailbox, server=f"127.0.0.1 {port}s", ca="ca.pem"), password=CANARY)
        ended = await asyncio.to_thread(there.pps, "pull")

    only_line(ended, code=1, says=("office: ", f"127.0.0.1 {port}s", "certificate", "name"))


@pytest.mark.parametrize("command", ["pull", "run"])
def test_a_broker_that_is_not_there_is_one_line(mailbox: Mailbox, tmp_path: Path, command: str) -> None:
    """Host and port are named, the password in its URL isn't."""
    mailbox.plant(mail())
    port = free_port()
    there = install(tmp_path, profile(mailbox), broker=f"amqp://pps:{CANARY}@127.0.0.1:{port}/pps")

    only_line(there.pps(command), code=1, says=("[service] broker", f"127.0.0.1:{port}"))

    assert len(mailbox.remaining()) == 1
    assert CANARY not in (tmp_path / "pop3.log").read_text()


@pytest.mark.parametrize("command", ["pull", "run", "status", "migrate", "fetcher", "router", "deliverer"])
def test_a_ledger_that_is_not_there_is_one_line(mailbox: Mailbox, tmp_path: Path, command: str) -> None:
    """For every command that needs it; its password isn't shown."""
    mailbox.plant(mail())
    port = free_port()
    there = install(
        tmp_path,
        profile(mailbox),
        ledger=f"postgresql://pps:{CANARY}@127.0.0.1:{port}/pps",
        broker=f"amqp://pps:{CANARY}@127.0.0.1:{port}/pps",
    )

    only_line(there.pps(command), code=1, says=("[service] ledger", f"127.0.0.1:{port}", "that PostgreSQL runs"))

    assert len(mailbox.remaining()) == 1


def test_a_broker_that_refuses_the_password_is_one_line(
    mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ
) -> None:
    """A role on its own says so and ends; what was tried isn't shown."""
    there = install(
        tmp_path, profile(mailbox), ledger=database, broker=f"amqp://pps-test:{CANARY}@127.0.0.1:{rabbitmq.port}/pps"
    )
    assert there.pps("migrate").code == 0

    only_line(there.pps("router"), code=1, says=("[service] broker", f"127.0.0.1:{rabbitmq.port}"))

    assert CANARY not in (tmp_path / "pop3.log").read_text()


def test_a_ledger_that_refuses_the_password_is_one_line(mailbox: Mailbox, tmp_path: Path, database: str) -> None:
    """Host and database are named."""
    place = database.rpartition("@")[2]
    there = install(
        tmp_path, profile(mailbox), ledger=f"postgresql://pps:{CANARY}@{place}", broker="amqp://pps:x@127.0.0.1:1/pps"
    )

    only_line(there.pps("fetcher"), code=1, says=("[service] ledger", place))


@pytest.mark.parametrize(("key", "code"), [("ledger", 1), ("log", 2)])
def test_a_folder_that_is_not_there_is_one_line(mailbox: Mailbox, tmp_path: Path, key: str, code: int) -> None:
    """The key is named; PPS makes no folders where nobody asked for any."""
    places = {"ledger": "pps.db", "log": "pop3.log"} | {key: f"missing/{key}"}
    there = install(tmp_path, profile(mailbox), ledger=f"sqlite:///{places['ledger']}", log=places["log"])

    only_line(there.pps("pull"), code=code, says=(f"[service] {key}", str(tmp_path / "missing")))

    assert not (tmp_path / "missing").exists()


def test_a_ledger_without_tables_is_one_line(mailbox: Mailbox, tmp_path: Path, database: str) -> None:
    """PostgreSQL is only ever changed by `pps migrate`, which the line names."""
    there = install(tmp_path, profile(mailbox), ledger=database, broker="amqp://pps:x@127.0.0.1:1/pps")

    only_line(there.pps("fetcher"), code=1, says=("pps migrate",))


def test_nobody_at_work_on_a_shared_ledger_is_one_line(mailbox: Mailbox, tmp_path: Path, database: str) -> None:
    """A pull that only watches says so when there is nothing to watch."""
    there = install(tmp_path, profile(mailbox), ledger=database, broker="amqp://pps:x@127.0.0.1:1/pps")
    assert there.pps("migrate").code == 0

    only_line(there.pps("pull"), code=2, says=("office", "pps reload"))


def test_a_target_that_is_not_there_is_one_line(mailbox: Mailbox, tmp_path: Path) -> None:
    """The target is named with its place and the mend; the mail stays."""
    mailbox.plant(mail())
    port = free_port()
    there = install(tmp_path, profile(mailbox), to=f"lmtp://127.0.0.1:{port}")

    only_line(there.pps("pull"), code=1, says=("target local", f"127.0.0.1:{port}", "check url"))

    assert len(mailbox.remaining()) == 1


def test_a_maildir_that_can_not_be_made_is_one_line(mailbox: Mailbox, tmp_path: Path) -> None:
    """A file lies where the folder should: nothing is delivered, nothing deleted."""
    mailbox.plant(mail())
    (tmp_path / "mail").touch()
    there = install(tmp_path, profile(mailbox), to=MAILDIR)

    only_line(there.pps("pull"), code=1, says=("target local",))

    assert len(mailbox.remaining()) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\nno header at all\r\n",
        b"no empty line either",
        b"",
        b"\0\xff\r\n\0",
        b": nameless\r\nTo\r\n\r\n",
        b"\r\n.\r\n",
    ],
)
def test_a_mail_that_is_none_goes_to_the_fallback(mailbox: Mailbox, tmp_path: Path, raw: bytes) -> None:
    """Whatever its octets are, a user gets it, and its neighbour is not affected."""
    mailbox.plant(raw, mail(to="ann@local.example"))
    there = install(tmp_path, catch_all(mailbox))

    ended = there.pps("pull")

    assert (ended.code, ended.err) == (0, "")
    assert there.counts() == {"ann": 1, "boss": 1}
    assert mailbox.remaining() == []


def test_an_unknown_key_is_one_line_that_names_the_nearest(mailbox: Mailbox, tmp_path: Path) -> None:
    """For every command, before anything is opened."""
    there = install(tmp_path, profile(mailbox, intervall="10m"))
    before = tree(tmp_path)

    for command in ("run", "pull", "status", "migrate", *ROLES):
        only_line(there.pps(command), code=2, says=("pps.toml", '"office"', "intervall", '"interval"'))

    assert tree(tmp_path) == before


async def test_no_password_is_anywhere(mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mailbox that is pulled and a target that is signed in to: not in log, ledger, blobs or any message."""
    published: list[bytes] = []
    publish = MemoryBroker.publish

    async def overhear(self: MemoryBroker, queue: str, body: bytes, *, message_id: str) -> None:
        published.append(body)
        await publish(self, queue, body, message_id=message_id)

    monkeypatch.setattr(MemoryBroker, "publish", overhear)
    user = mailbox.dovecot.add_user(f"{mailbox.user}-canary", CANARY)
    mailbox.dovecot.plant(user, [mail(), mail(size=100_000)])
    (tmp_path / "target.secret").write_text(CANARY)
    (tmp_path / "target.secret").chmod(0o600)
    async with SmtpServer(extensions=["SIZE 52428800", "AUTH PLAIN"]) as server:
        target = {"url": server.url, "user": "pps", "password": "file:target.secret"}
        there = install(tmp_path, profile(mailbox, user=user), targets={"local": target}, password=CANARY)
        async with there.serving() as service:
            await service.until(lambda status: status.profiles[0].mails == {"deleted": 2})

    assert any(command.startswith("AUTH") for command in server.commands)
    assert len(published) == 6
    assert not [body for body in published if CANARY.encode() in body]
    assert traces(tmp_path, CANARY.encode()) == []
