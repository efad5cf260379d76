"""Nothing in a mail or address becomes a path, a command, an SMTP argument or a header: each attempt, end to end."""

import re
from pathlib import Path
from typing import Final

import pytest

from common.messages import DeliveryJob, UndecodableError, decode, encode
from deliverer.target import TargetOptions
from tests.deliveries import deliver, job_of, target_of
from tests.integration.service import catch_all, install
from tests.maildir import messages
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.smtp import SmtpServer

LOCAL_PARTS: Final = (
    "../ann", "../../../../etc/cron.d/x", "..", ".", ".ann", "ann.", "a..b", "-ann", "--help", "-oQ/tmp/x", "a/b",
    "/etc/passwd",
    "a\\b", "~root", "$(id)", "`id`", "|id", "a;b", "a&b", "%2e%2e%2fann", "{user}", "{detail}", "a+../b", "a+.", "+",
    "ann\0", "ann\r\nRCPT TO:<evil@far.example>", "ann\nDATA", "ann\rQUIT", "ann>\r\nDATA\r\n", "ann> SIZE=1", "<ann",
    "a b", '"a b"',
    '"a\\"b"', '"ann@far.example"', '"../ann"', '""', "@far.example:ann", "ann@far.example,", "x" * 65_536,
    "ü" * 40_000,
    "\u202eann", "\ufeffann", "a\u0300nn", "\udcff", "ann\x7f", "ann\x1b[2J",
)  # fmt: skip
"""What somebody may write before "@local.example"."""

_MAIL: Final = re.compile(r"MAIL FROM:<[^<>\s]*>( [A-Z0-9=]+)*")
_RCPT: Final = re.compile(r"RCPT TO:<[^<>\s]+>")


def files(folder: Path) -> list[Path]:
    """Return all files below a folder, but for the mark of a Maildir's subfolder."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "maildirfolder"]


def names(folder: Path) -> set[str]:
    """Return what stands in a folder."""
    return {path.name for path in folder.glob("*")}


def job_for(recipient: str) -> DeliveryJob | None:
    """Return the job for a recipient, as a deliverer reads it from its queue; None where no message can hold it."""
    try:
        return decode(encode(job_of(recipient=recipient)), DeliveryJob)
    except (ValueError, UndecodableError):
        return None


@pytest.mark.parametrize("local", LOCAL_PARTS, ids=lambda local: ascii(local)[:24])
async def test_no_recipient_becomes_a_command_or_an_argument(local: str) -> None:
    """The server sees the commands of one transaction, each one line of its form; or no message holds the address."""
    job = job_for(f"{local}@local.example")
    if job is None:
        return
    async with SmtpServer() as server:
        target = target_of(TargetOptions(url=server.url))
        await deliver(target, job)
        await target.close()

    verbs = [command.partition(" ")[0] for command in server.commands]
    assert verbs in (["EHLO", "MAIL", "RCPT", "DATA", "QUIT"], ["EHLO", "QUIT"])
    assert all(_MAIL.fullmatch(one) for one in server.commands if one.startswith("MAIL"))
    assert [one for one in server.commands if one.startswith("RCPT")] == [f"RCPT TO:<{job.recipient}>"][
        : len(verbs) - 2
    ]
    head = b"".join(sent.content for sent in server.deliveries).partition(b"From:")[0]
    assert all(line.startswith((b"Received: ", b"\tfor <", b"\t")) for line in head.splitlines())


@pytest.mark.parametrize("local", LOCAL_PARTS, ids=lambda local: ascii(local)[:24])
async def test_no_recipient_becomes_a_path(local: str, tmp_path: Path) -> None:
    """What is no harmless name of a folder is refused with a reason; nothing is made outside the target's own."""
    job = job_for(f"{local}@local.example")
    if job is None:
        return
    base = tmp_path / "a" / "mail"
    target = target_of(TargetOptions(url=f"maildir:{base}/{{domain}}/{{user}}/.{{detail}}?create=yes"))
    await deliver(target, job)
    await target.close()

    inside = base / "local.example"
    made = files(tmp_path)
    assert all(path.is_relative_to(inside) for path in made)
    assert len(made) <= 1
    assert names(inside) <= {local.lower().partition("+")[0]}


@pytest.mark.parametrize("sender", LOCAL_PARTS, ids=lambda local: ascii(local)[:24])
async def test_no_sender_becomes_a_command_or_an_argument(sender: str) -> None:
    """The Return-Path of a mail is somebody's text, too."""
    try:
        job = decode(encode(job_of(sender=f"{sender}@far.example")), DeliveryJob)
    except (ValueError, UndecodableError):
        return
    async with SmtpServer() as server:
        target = target_of(TargetOptions(url=server.url))
        await deliver(target, job)
        await target.close()

    assert [command.partition(" ")[0] for command in server.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert _MAIL.fullmatch(server.commands[1])


@pytest.mark.parametrize("kind", ["smtp", "maildir"])
async def test_mails_with_such_addresses_all_arrive(mailbox: Mailbox, tmp_path: Path, kind: str) -> None:
    """From the remote mailbox to the end: each is delivered to somebody in the local domain, and deleted."""
    written = [local.encode(errors="surrogateescape")[:70_000] for local in LOCAL_PARTS]
    planted = [mail(to=b"<" + re.sub(rb"[\r\n]+", b"\r\n ", one) + b"@local.example>") for one in written]
    mailbox.plant(*planted)
    async with SmtpServer() as server:
        to = server.url if kind == "smtp" else f"maildir:{tmp_path}/mail/{{user}}?create=yes"
        refused = "maildir:bad?create=yes"
        there = install(tmp_path, catch_all(mailbox, interval="1h"), targets={"local": {"url": to, "refused": refused}})
        async with there.serving() as service:
            await service.until(lambda status: status.profiles[0].mails == {"deleted": len(planted)})

    commands = [command for command in server.commands if command.startswith("RCPT")]
    assert all(_RCPT.fullmatch(command) and command.endswith("@local.example>") for command in commands)
    arrived = len(server.deliveries) + len(files(tmp_path / "mail"))
    assert arrived + len(messages(tmp_path / "bad")) >= len(planted)
    ours = {"mail", "bad", "blobs", "pop3.log", "pps.toml", "office.secret"}
    assert all(name in ours or name.startswith("pps.db") for name in names(tmp_path))
