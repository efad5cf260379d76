"""Whole fetchers against a server that does wrong: invariant I2, with real broker, ledger, router and deliverer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fetcher import connection
from fetcher.streams import Limits
from tests.integration.service import MAILDIR, Installation, Serving, install
from tests.ledger import change
from tests.maildir import compare
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox, Quit
from tests.servers.smtp import SmtpServer
from tests.status import ProfileStatus, Status

A_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All roles at work on the mailbox; each poll begins when the test says so, but the first."""

    there: Installation
    serving: Serving

    async def poll(self) -> ProfileStatus:
        """Poll once more; return how the profile stands after it."""
        return await self.serving.poll()

    async def until(self, **mails: int) -> None:
        """Wait until the ledger counts mails by state just so."""
        await self.serving.until(lambda status: status.profiles[0].mails == mails)

    async def age(self, statement: str) -> None:
        """Change rows by hand: time is brought on by ageing them."""
        await change(self.serving.parts.ledger, statement)

    def got(self, *mails: bytes) -> bool:
        """Whether ann has just these mails, octet for octet, each once."""
        accounting = compare({"ann": mails}, {"ann": self.there.inbox("ann")})
        assert accounting.exact, accounting
        return True


@asynccontextmanager
async def at_work(
    folder: Path, server: Pop3Server, *, to: str = MAILDIR, **keys: object
) -> AsyncIterator[tuple[Service, ProfileStatus]]:
    """Run every role on the mailbox `office`, all of whose mail goes to ann; yield once the first poll has ended."""
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    table = {**account, "local_user": "ann@local.example", **keys}
    there = install(folder, table, password=PASSWORD, to=to)
    async with there.serving() as serving:
        status = await serving.until(_polled_once)
        yield Service(there=there, serving=serving), status.profiles[0]


def _below_trace(raw: bytes) -> bytes:
    return raw[raw.index(b"From:") :]


def _polled_once(status: Status) -> bool:
    return status.profiles[0].last_finished_at is not None and not status.profiles[0].polling


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("size", [900, 1000])
async def test_a_mail_under_an_old_uidl_is_delivered_before_it_is_deleted(
    server: Pop3Server,
    box: Mailbox,
    tmp_path: Path,
    size: int,
    top: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """The first was delivered, its deletion lost; whether sizes differ or not, the second is no copy of it."""
    if not top:
        server.capabilities = ["UIDL"]
    box.quit = Quit.LOST
    first, second = mail(size=900), mail(size=size)
    box.plant(first, uidl=b"same")
    async with at_work(tmp_path, server) as (service, _):
        assert service.got(first)
        box.mails.clear()
        box.plant(second, uidl=b"same")
        box.quit = Quit.ANSWERED

        await service.poll()

        assert service.got(first, second)
        assert box.deleted == [second]


async def test_a_mail_under_a_kept_mail_s_uidl_is_delivered_too(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The mailbox was emptied by somebody else, and its server begins to count anew."""
    first, second = mail(size=900), mail(size=1000)
    box.plant(first, uidl=b"1")
    async with at_work(tmp_path, server, keep=True) as (service, _):
        box.mails.clear()
        box.plant(second, uidl=b"1")

        end = await service.poll()

        assert end.mails == {"kept": 2}
        assert service.got(first, second)
        assert box.deleted == []


@pytest.mark.parametrize("ending", [Quit.ANSWER_LOST, Quit.LOST, Quit.REFUSED])
async def test_a_lost_answer_to_quit_delivers_nothing_twice(
    server: Pop3Server, box: Mailbox, tmp_path: Path, ending: Quit
) -> None:
    """Whether the server deleted or not, the next listing tells, and the ledger agrees with it."""
    mails = [mail() for _ in range(5)]
    box.plant(*mails)
    box.quit = ending
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_result in {"network", "protocol"}
        box.quit = Quit.ANSWERED

        await service.poll()
        end = await service.poll()

        assert end.mails == {"deleted": 5}
        assert box.mails == []
        assert sorted(box.deleted) == sorted(mails)
        assert service.got(*mails)


async def test_a_refused_mail_is_skipped_and_the_others_go_on(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """It is never deleted, rests for a day, and is tried again then."""
    mails = [mail() for _ in range(4)]
    refused = box.plant(*mails)[1]
    refused.refusal = "-ERR message is corrupt"
    async with at_work(tmp_path, server) as (service, first):
        assert first.mails == {"deleted": 3, "skipped": 1}
        assert service.got(mails[0], *mails[2:])
        assert box.mails == [refused]
        refused.refusal = None

        await service.poll()
        assert box.mails == [refused]

        await service.age(f"UPDATE mails SET progress_at = progress_at - {A_DAY_MS}")  # noqa: S608 (a constant)
        end = await service.poll()

        assert end.mails == {"deleted": 4}
        assert service.got(*mails)


async def test_nothing_is_no_mail(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A server that says +OK and shows nothing keeps what it has; and so does one with data of its own in a mail."""
    internal = mail(subject="DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA", extra="X-IMAP: 1053006542 0\r\n")
    mails = [internal, mail(), mail()]
    stored = box.plant(*mails)
    server.answers["RETR 2"] = b"+OK 0 octets\r\n.\r\n"
    async with at_work(tmp_path, server) as (service, first):
        assert first.mails == {"deleted": 1, "skipped": 2}
        assert box.mails == stored[:2]
        assert service.got(mails[2])


async def test_what_is_refused_for_now_is_tried_soon(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """[SYS/TEMP] (RFC 3206) is no reason to leave a mail for a day."""
    mails = [mail(), mail()]
    (refused, _other) = box.plant(*mails)
    refused.refusal = "-ERR [SYS/TEMP] storage is away"
    async with at_work(tmp_path, server) as (service, first):
        assert first.mails == {"deleted": 1, "listed": 1}
        refused.refusal = None

        await service.poll()

        assert service.got(*mails)


@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_cut_mail_is_delivered_whole_by_the_next_session(
    server: Pop3Server,
    box: Mailbox,
    tmp_path: Path,
    pipelining: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Nothing of it is delivered before; what was whole before the cut is."""
    if not pipelining:
        server.capabilities = ["UIDL", "TOP"]
    mails = [mail(), mail(size=200_000), mail()]
    cut = box.plant(*mails)[1]
    cut.cut_after = 150_000
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_result == "network"
        await service.serving.until(lambda status: not status.profiles[0].deliveries.get("pending"))
        assert service.got(mails[0])
        assert box.deleted == []
        cut.cut_after = None

        end = await service.poll()

        assert end.mails == {"deleted": 3}
        assert service.got(*mails)
        assert not list((tmp_path / "blobs" / "tmp").iterdir())


async def test_a_mail_that_breaks_three_sessions_is_skipped(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """It goes last, blames none of its neighbours, and then holds up nobody."""
    mails = [mail() for _ in range(6)]
    bad = box.plant(*mails)[2]
    bad.cut_after = 20
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_result == "network"
        for _ in range(2):
            await service.poll()
        end = await service.poll()

        assert (end.last_result, end.mails) == ("ok", {"deleted": 5, "skipped": 1})
        assert box.mails == [bad]
        assert service.got(*mails[:2], *mails[3:])


@pytest.mark.parametrize("marks", [False, True])
async def test_without_top_a_mail_is_retrieved_and_compared(
    server: Pop3Server,
    box: Mailbox,
    tmp_path: Path,
    marks: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Delivered in an earlier session: deleted now, and not delivered again, even if a Status field was added."""
    server.capabilities = ["UIDL", "PIPELINING"]
    box.marks = marks
    mails = [mail(), mail(size=100_000)]
    box.plant(*mails)
    box.quit = Quit.LOST
    async with at_work(tmp_path, server) as (service, _):
        box.quit = Quit.ANSWERED

        end = await service.poll()

        assert end.mails == {"deleted": 2}
        assert [stored.retrieved for stored in box.mails] == []
        assert sorted(box.deleted) == sorted(mails)
        assert service.got(*mails)


async def test_a_header_that_top_dresses_up_makes_no_new_mail(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A server may show other fields in TOP than in RETR; the mail is compared whole before it is called another."""
    raw = mail()
    box.plant(raw)
    box.quit = Quit.LOST
    server.answers["TOP 1 0"] = b"+OK\r\nX-Shown-By-Top: yes\r\nSubject: hello\r\n\r\n.\r\n"
    async with at_work(tmp_path, server) as (service, _):
        box.quit = Quit.ANSWERED

        await service.poll()

        assert box.deleted == [raw]
        assert service.got(raw)


@pytest.mark.parametrize("capabilities", [["UIDL", "TOP", "PIPELINING"], ["TOP"], None])
async def test_mails_without_a_uidl_of_their_own_are_neither_lost_nor_doubled(
    server: Pop3Server, box: Mailbox, tmp_path: Path, capabilities: list[str] | None
) -> None:
    """Repeated, blank and missing UIDLs: each mail is known by its header, and deleted where it was retrieved."""
    server.capabilities = capabilities
    mails = [mail() for _ in range(6)]
    box.plant(*mails[:2], uidl=b"twice")
    box.plant(*mails[2:4], uidl=b"")
    (unnumbered, _) = box.plant(*mails[4:])
    unnumbered.numbered = False
    box.quit = Quit.LOST
    async with at_work(tmp_path, server) as (service, _):
        box.quit = Quit.ANSWERED

        await service.poll()

        assert sorted(box.deleted) == sorted(mails)
        assert service.got(*mails)


async def test_a_mail_keeps_its_identity_when_its_uidl_is_given_to_another_too(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Its own, then shared, blank, missing, shared again, and in the end the other's own: nothing comes twice."""
    first, second = mail(), mail()
    (stored,) = box.plant(first, uidl=b"x")
    box.quit = Quit.LOST
    async with at_work(tmp_path, server) as (service, _):
        box.plant(second, uidl=b"x")
        await service.poll()
        stored.uidl = b""
        await service.poll()
        stored.numbered = False
        await service.poll()
        stored.numbered, stored.uidl = True, b"x"
        await service.poll()
        box.mails.remove(stored)
        await service.poll()
        assert service.got(first, second)
        box.quit = Quit.ANSWERED

        end = await service.poll()

        assert end.mails == {"deleted": 2}
        assert box.deleted == [second]
        assert service.got(first, second)


async def test_an_equal_mail_that_comes_later_is_another(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """Without UIDLs, yesterday's alarm must not stand for today's."""
    server.capabilities = ["TOP"]
    alarm = mail(message_id="")
    box.plant(alarm)
    async with at_work(tmp_path, server) as (service, _):
        assert box.deleted == [alarm]
        box.plant(alarm)

        await service.poll()

        assert service.got(alarm, alarm)
        assert box.deleted == [alarm, alarm]


async def test_two_equal_mails_without_uidls_are_two_mails(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A device that sends the same alarm twice sent two mails."""
    server.capabilities = ["TOP"]
    alarm = mail(message_id="")
    box.plant(alarm, alarm)
    async with at_work(tmp_path, server) as (service, first):
        assert first.mails == {"deleted": 2}
        assert service.got(alarm, alarm)


async def test_mails_that_nothing_tells_apart_stay(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """Without TOP, a repeated UIDL names nobody; what has a name of its own is delivered."""
    server.capabilities = ["UIDL"]
    mails = [mail(), mail(), mail()]
    box.plant(*mails[:2], uidl=b"twice")
    box.plant(mails[2])
    async with at_work(tmp_path, server) as (service, _):
        assert box.deleted == [mails[2]]
        assert service.got(mails[2])

        end = await service.poll()

        assert end.last_error == (
            f"{server.server}: it gives mails neither unique UIDLs nor TOP: they can't be told apart"
        )
        assert len(box.mails) == 2


@pytest.mark.parametrize("keep", [True, False])
async def test_half_a_listing_is_not_believed(
    server: Pop3Server,
    box: Mailbox,
    tmp_path: Path,
    keep: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Most mails are missing once, and then they are back: none is delivered again, none is lost."""
    mails = [mail() for _ in range(7)]
    stored = box.plant(*mails)
    box.quit = Quit.LOST
    async with at_work(tmp_path, server, keep=keep) as (service, _):
        for one in stored[2:]:
            one.listed = False
        box.quit = Quit.ANSWERED
        await service.poll()
        for one in stored[2:]:
            one.listed = True

        end = await service.poll()

        assert end.mails == {"kept" if keep else "deleted": 7}
        assert len(box.mails) == (7 if keep else 0)
        assert service.got(*mails)


async def test_an_unreadable_listing_is_no_empty_mailbox(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """Nothing is taken for deleted, or for new, because a server mumbled once."""
    mails = [mail(), mail()]
    box.plant(*mails)
    async with at_work(tmp_path, server, keep=True) as (service, _):
        server.answers["LIST"] = b"+OK\r\n1: 500 octets\r\n2: 500 octets\r\n.\r\n"
        failed = await service.poll()
        assert failed.last_error == f"{server.server}: its LIST can't be read"
        del server.answers["LIST"]

        end = await service.poll()

        assert end.mails == {"kept": 2}
        assert service.got(*mails)


async def test_a_mail_cut_at_an_unstuffed_dot_is_never_deleted(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Nor delivered: it is set aside after three sessions, and its neighbours are not."""
    mails = [mail(), mail(body="before\r\n.\r\nafter\r\n"), mail(), mail(body=".hidden\r\n")]
    stored = box.plant(*mails)
    for one in stored:
        one.stuffed = False
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_result == "protocol"
        for _ in range(2):
            await service.poll()
        end = await service.poll()

        assert end.mails == {"deleted": 3, "skipped": 1}
        assert box.mails == [stored[1]]
        assert service.got(mails[0], *mails[2:])


async def test_a_mail_that_retr_hides_is_at_rest_before_the_next_command(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The second is cut: the first, by now only ours, is delivered all the same, and the third was not asked for."""
    mails = [mail(), mail(), mail()]
    box.hides = True
    (_first, second, third) = box.plant(*mails)
    second.cut_after = 10
    async with (
        SmtpServer(lmtp=True) as target,
        at_work(tmp_path, server, to=target.url, custody="blob") as (service, first),
    ):
        assert first.last_result == "network"
        assert third.retrieved == 0
        assert [line for line in server.commands if line[:4] in {"RETR", "NOOP"}] == ["RETR 1", "NOOP", "RETR 2"]
        second.cut_after, second.retrieved = None, 0

        await service.poll()
        await service.poll()

        await service.until(deleted=3)
        assert sorted(_below_trace(raw) for raw in target.inbox("ann")) == sorted(_below_trace(raw) for raw in mails)


async def test_hidden_mail_outlives_a_target_that_is_down(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """It is listed no more, but at rest here; once the target is back it is delivered, and done with."""
    mails = [mail(), mail()]
    box.hides = True
    box.plant(*mails)
    target = SmtpServer(lmtp=True)
    await target.start()
    await target.stop()
    async with at_work(tmp_path, server, to=target.url, custody="blob") as (service, _):
        for _ in range(2):  # an empty listing is believed when it is seen twice
            await service.poll()
        assert box.visible() == []
        await target.start()
        try:
            await service.serving.make_due()
            await service.age("UPDATE targets SET paused_until = 0")
            await service.serving.until(lambda status: status.profiles[0].deliveries == {"delivered": 2})
        finally:
            await target.stop()

        end = await service.poll()

        assert end.mails == {"deleted": 2}
        assert len(target.inbox("ann")) == 2


async def test_a_server_that_hangs_up_on_capa_is_asked_without(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Some do (fetchmail's FAQ, O11): their mail is fetched nonetheless."""
    server.answers["CAPA"] = None
    raw = mail()
    box.plant(raw)
    async with at_work(tmp_path, server) as (service, first):
        assert first.mails == {"deleted": 1}
        assert service.got(raw)


async def test_a_server_that_can_not_pipeline_is_spared_it(
    server: Pop3Server, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers the first of several commands only: fewer are sent ahead, then none, and no mail is blamed."""
    monkeypatch.setattr(connection, "Limits", partial(Limits, idle=0.5))  # seconds, not a minute
    server.only_first = True
    mails = [mail() for _ in range(4)]
    box.plant(*mails)
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_result == "network"

        assert (await service.poll()).last_result == "network"
        end = await service.poll()

        assert end.mails == {"deleted": 4}
        assert service.got(*mails)


async def test_a_session_that_stalls_is_given_up(
    server: Pop3Server, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the deadline, with nothing half delivered; the next session gets the mail."""
    monkeypatch.setattr(connection, "Limits", partial(Limits, idle=0.5))  # seconds, not a minute
    mails = [mail(), mail(size=300_000)]
    stalls = box.plant(*mails)[1]
    stalls.stalls_after = 100_000
    async with at_work(tmp_path, server) as (service, first):
        assert first.last_error == f"{server.server}: no answer in 0 s"
        stalls.stalls_after = None

        end = await service.poll()

        assert end.mails == {"deleted": 2}
        assert service.got(*mails)


async def test_mail_that_somebody_else_removed_is_not_awaited(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A listed mail that is gone before it was fetched is told apart from a lost one."""
    removed = box.plant(mail())[0]
    removed.cut_after = 5
    async with at_work(tmp_path, server) as (service, _):
        box.mails.clear()

        await service.poll()
        end = await service.poll()

        assert end.mails == {"removed": 1}
        assert end.left == 0
