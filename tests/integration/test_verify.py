"""`pps verify` on a whole installation with real Dovecot: all is accounted for, and each planted breach is found."""

import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from common.failures import PpsError
from manager.cli.app import run
from manager.verify import of_blobs
from manager.verify.account import Account, Kind, Report
from manager.verify.verification import accept, verify
from tests.integration.service import MAILDIR, Installation, install, profile
from tests.mails import mail
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.status import ProfileStatus

LARGE: Final = 100_000
TOO_LARGE: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An installation that pulled two mailboxes: one is emptied but for what can't be, one keeps its mail."""

    there: Installation
    dovecot: Dovecot
    boxes: dict[str, str]

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Change or read rows by hand."""
        path = self.there.folder / "pps.db"
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def mail(self, condition: str) -> str:
        """Return the id of the one mail of which this holds."""
        ((found,),) = self.rows("SELECT id FROM mails WHERE " + condition)  # noqa: S608 (a test's own words)
        return str(found)

    def blob(self) -> Path:
        """Return the one blob of a mail."""
        ((ours,),) = self.rows("SELECT id FROM installation")  # the ledger's age lies there, too
        (path,) = [path for path in (self.there.folder / "blobs").glob("??/*") if path.name != ours]
        return path

    def file(self, user: str) -> Path:
        """Return the first mail in a user's Maildir."""
        return min((self.there.folder / "mail" / user / "new").iterdir())

    async def verified(self, *names: str, remote: bool = True) -> Report:
        """Verify."""
        return await verify(self.there.config, names, remote=remote)


@pytest.fixture(scope="module")
def original(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    """Pull once: to Maildirs and to LMTP; one mail is refused and in quarantine, one is larger than allowed."""
    folder = tmp_path_factory.mktemp("verified")
    dovecot.start()
    boxes = {name: dovecot.add_user(f"verify{name}") for name in ("office", "kept")}
    to_many = mail(to="ann@local.example, bob@local.example", size=LARGE)
    refused, skipped = mail(to="ann&co@local.example"), mail(to="ann@local.example", size=TOO_LARGE)
    dovecot.plant(boxes["office"], [mail(to="ann@local.example"), to_many, refused, skipped])
    dovecot.plant(boxes["kept"], [mail(to="ann@local.example")])
    server = f"{dovecot.host} {dovecot.pop3_port}"
    office = {**_account("office", server, boxes), "max_size": TOO_LARGE - 1}
    kept = {**_account("kept", server, boxes), "keep": True, "target": "mda"}
    targets = {"local": {"url": MAILDIR}, "mda": {"url": f"lmtp://127.0.0.1:{dovecot.lmtp_port}"}}
    there = install(folder, office, kept, targets=targets)
    assert there.pps("pull").code == 1  # something is left: in quarantine
    return Pulled(there=there, dovecot=dovecot, boxes=boxes)


def _account(name: str, server: str, boxes: dict[str, str]) -> dict[str, object]:
    local = {"local_domain": ["local.example"], "local_user": "boss", "distribute": True}
    return {"name": name, "server": server, "user": boxes[name], "password": f"file:{name}.secret", **local}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge blobs a second time at once: here nobody fetches meanwhile."""
    monkeypatch.setattr(of_blobs, "FETCH_SECONDS", 0.0)


@pytest.fixture
def pulled(original: Pulled, tmp_path: Path) -> Pulled:
    """Return a copy of it, to break."""
    shutil.copytree(original.there.folder, tmp_path / "copy")
    return Pulled(there=Installation(folder=tmp_path / "copy"), dovecot=original.dovecot, boxes=original.boxes)


Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(pulled: Pulled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Return what runs a command in its folder, in this process: exit code, stdout and stderr."""
    monkeypatch.chdir(pulled.there.folder)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return code, *capsys.readouterr()

    return run_command


def account(report: Report, name: str = "office") -> Account:
    """Return a profile's account."""
    return next(one for one in report.accounts.values() if one.name == name)


async def test_every_mail_is_accounted_for(pulled: Pulled) -> None:
    """Each is in one count; servers, blobs, Maildirs and replies agree with the ledger."""
    report = await pulled.verified()

    assert (report.breaches, report.unlooked, report.mails) == ([], [], 5)
    office, kept = account(report), account(report, "kept")
    assert (office.mails, office.deleted, office.quarantined, office.skipped, office.under_way) == (4, 2, 1, 1, 0)
    assert (office.on_server, office.remote.listed, office.remote.known, office.remote.came_back) == (2, 2, 2, 0)
    assert (kept.mails, kept.kept, kept.delivered, kept.on_server, kept.remote.listed) == (1, 1, 1, 1, 1)
    local, mda = report.targets["local"], report.targets["mda"]
    assert (local.delivered, local.present, local.gone, local.transport) == (3, 3, 0, "maildir")
    assert (mda.delivered, mda.transport) == (1, "reply")
    assert (report.blobs.looked, report.blobs.blobs, report.blobs.orphaned) == (True, 1, 0)


REDIRECT_ALL: Final = "UPDATE deliveries SET state = 'redirected' WHERE mail_id = ?"


def deleted_undelivered(pulled: Pulled) -> None:
    """Nobody has it."""
    pulled.rows(REDIRECT_ALL, pulled.mail(f"state = 'deleted' AND octets < {LARGE}"))


def deleted_undone(pulled: Pulled) -> None:
    """One of two has it."""
    pulled.rows("UPDATE deliveries SET state = 'deferred' WHERE recipient = 'bob@local.example'")


def kept_undelivered(pulled: Pulled) -> None:
    """Nobody has it."""
    pulled.rows(REDIRECT_ALL, pulled.mail("state = 'kept'"))


def routed_to_nobody(pulled: Pulled) -> None:
    """It has no copy."""
    pulled.rows("UPDATE mails SET state = 'routed', copy_id = NULL WHERE state = 'kept'")


def copy_without_delivery(pulled: Pulled) -> None:
    """Nobody is to get it."""
    pulled.rows("INSERT INTO copies SELECT 'f' || substr(id, 2), mailbox, 'none', first_seen FROM copies LIMIT 1")


def delivery_without_mail(pulled: Pulled) -> None:
    """Its mail has no row."""
    pulled.rows("UPDATE deliveries SET mail_id = 'f' || substr(mail_id, 2) WHERE state = 'quarantined'")


def delivered_without_reply(pulled: Pulled) -> None:
    """The target said nothing."""
    pulled.rows("UPDATE deliveries SET last_reply = NULL WHERE target = 'mda'")


def delivered_although_refused(pulled: Pulled) -> None:
    """The target said no."""
    pulled.rows("UPDATE deliveries SET last_reply = '550 5.7.1 no' WHERE target = 'mda'")


def content_nowhere(pulled: Pulled) -> None:
    """Gone from the server, and from the blobs."""
    pulled.blob().unlink()
    pulled.rows("UPDATE mails SET unseen_since = 1 WHERE state = 'routed'")


def blob_without_row(pulled: Pulled) -> None:
    """A blob that nobody knows."""
    key = str(uuid.uuid4())
    path = pulled.there.folder / "blobs" / key[-2:] / key
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"From: somebody\r\n\r\n")


def blob_cut(pulled: Pulled) -> None:
    """Shorter than it was fetched."""
    path = pulled.blob()
    path.write_bytes(path.read_bytes()[:-10])


def blob_other(pulled: Pulled) -> None:
    """As long, and another."""
    path = pulled.blob()
    path.write_bytes(path.read_bytes()[::-1])


def file_cut(pulled: Pulled) -> None:
    """Shorter than it was delivered."""
    path = pulled.file("bob")
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-10])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def file_other(pulled: Pulled) -> None:
    """As long, and another."""
    path = pulled.file("bob")
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-2] + b"?\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


BREACHES: Final[dict[Callable[[Pulled], None], tuple[Kind, str | None]]] = {
    deleted_undelivered: (Kind.DELETED_UNDELIVERED, "office"),
    deleted_undone: (Kind.DELETED_UNDONE, "office"),
    kept_undelivered: (Kind.KEPT_UNDELIVERED, "kept"),
    routed_to_nobody: (Kind.ROUTED_TO_NOBODY, "kept"),
    copy_without_delivery: (Kind.COPY_WITHOUT_DELIVERY, None),
    delivery_without_mail: (Kind.DELIVERY_WITHOUT_MAIL, "office"),
    delivered_without_reply: (Kind.DELIVERED_WITHOUT_REPLY, "kept"),
    delivered_although_refused: (Kind.DELIVERED_WITHOUT_REPLY, "kept"),
    content_nowhere: (Kind.CONTENT_NOWHERE, "office"),
    blob_without_row: (Kind.BLOB_WITHOUT_ROW, None),
    blob_cut: (Kind.BLOB_DIFFERS, "office"),
    blob_other: (Kind.BLOB_DIFFERS, "office"),
    file_cut: (Kind.FILE_DIFFERS, "office"),
    file_other: (Kind.FILE_DIFFERS, "office"),
}


@pytest.mark.parametrize("plant", BREACHES, ids=lambda plant: plant.__name__)
async def test_each_breach_is_found(pulled: Pulled, plant: Callable[[Pulled], None]) -> None:
    """One, of just this kind, with its profile where there is one; and it is kept for `pps status`."""
    kind, profile = BREACHES[plant]
    plant(pulled)

    report = await pulled.verified()

    assert [one.kind for one in report.breaches] == [kind], report.breaches
    assert profile is None or report.breaches[0].profile == profile
    undelivered = int(kind is Kind.DELETED_UNDELIVERED)
    assert pulled.rows("SELECT breaches, undelivered, whole FROM verifications") == [(1, undelivered, 1)]


async def test_what_users_did_with_their_mail_is_no_breach(pulled: Pulled) -> None:
    """Read: found under its flags. Removed: gone since. Changed since it was delivered: counted apart."""
    bob = pulled.file("bob")
    bob.write_bytes(b"X-Seen: yes\n" + bob.read_bytes())
    later = bob.stat().st_mtime + 3600
    os.utime(bob, (later, later))
    ann = pulled.file("ann")
    ann.rename(ann.parent.parent / "cur" / f"{ann.name}:2,S")
    pulled.file("ann").unlink()

    report = await pulled.verified()

    local = report.targets["local"]
    assert report.breaches == []
    assert (local.delivered, local.present, local.changed, local.gone) == (3, 1, 1, 1)


async def test_a_mail_that_was_fetched_anew_is_only_looked_for(pulled: Pulled) -> None:
    """Servers add fields: what another recipient's delivery had fetched again need not be what this one was given."""
    pulled.rows("UPDATE mails SET digest = x'00', fetched_at = fetched_at + 3600000 WHERE state = 'deleted'")

    report = await pulled.verified()

    assert report.breaches == []
    assert (report.targets["local"].present, report.targets["local"].untold) == (0, 3)


async def test_a_file_may_be_another_mail_of_the_copy(pulled: Pulled) -> None:
    """A job that was late brought the bytes of one mail for the other's: they are one copy."""
    twin = (
        "SELECT 'f' || substr(id, 2) AS id, mailbox, profile_id, x'ff' AS uidl_key, uidl, size, state, fetches, breaks"
    )
    rest = "copy_id, digest, octets, listed_at, progress_at, fetched_at, unseen_since"
    names = "id, mailbox, profile_id, uidl_key, uidl, size, state, fetches, breaks"
    pulled.rows(f"INSERT INTO mails ({names}, {rest}) {twin}, {rest} FROM mails WHERE octets >= ?", LARGE)
    pulled.rows("UPDATE mails SET digest = x'00' WHERE octets >= ? AND uidl_key <> x'ff'", LARGE)

    report = await pulled.verified()

    assert report.breaches == []
    assert report.targets["local"].present == 3


async def test_what_is_new_or_came_back_on_a_server_is_counted(pulled: Pulled) -> None:
    """New mail waits for the next poll; a mail recorded as deleted is there again: neither is a breach."""
    pulled.rows("UPDATE mails SET state = 'deleted', deleted_at = 1, unseen_since = 1 WHERE state = 'kept'")
    pulled.rows("DELETE FROM mails WHERE state = 'skipped'")

    report = await pulled.verified()

    office, kept = account(report).remote, account(report, "kept").remote
    assert report.breaches == []
    assert (office.listed, office.known, office.new, office.came_back) == (2, 1, 1, 0)
    assert (kept.listed, kept.known, kept.new, kept.came_back) == (1, 0, 0, 1)


async def test_only_the_profiles_that_are_named_are_verified(pulled: Pulled) -> None:
    """What is wrong with another is not told, and the verification isn't whole."""
    deleted_undone(pulled)

    report = await pulled.verified("kept")

    assert [one.name for one in report.accounts.values()] == ["kept"]
    assert (report.breaches, report.mails, report.whole) == ([], 1, False)


async def test_a_mail_that_good_polls_pass_over_is_a_breach(pulled: Pulled) -> None:
    """New at one verification, and at the next still without a row although a poll began and went well since."""
    pulled.rows("DELETE FROM mails WHERE state = 'skipped'")
    assert (await pulled.verified()).breaches == []
    assert (await pulled.verified()).breaches == []
    ((ended,),) = pulled.rows("SELECT max(ended_at) FROM verifications")
    pulled.rows("UPDATE schedule SET last_started_at = ?1 + 1, last_success_at = ?1 + 2", ended)

    report = await pulled.verified()

    assert [(one.kind, one.profile) for one in report.breaches] == [(Kind.LISTED_WITHOUT_ROW, "office")]


async def test_what_the_server_lost_before_all_had_it_is_a_breach(pulled: Pulled) -> None:
    """The ledger still has it as listed; the server doesn't list it, and there is no blob."""
    pulled.blob().unlink()
    pulled.rows("UPDATE mails SET uidl_key = x'676f6e65' WHERE state = 'routed'")

    report = await pulled.verified()

    assert [one.kind for one in report.breaches] == [Kind.CONTENT_NOWHERE]
    assert (account(report).remote.vanished, account(report).remote.new) == (1, 1)


def test_what_can_not_be_looked_at_is_told(pulled: Pulled, told: Told) -> None:
    """A sign-in that is refused and blobs that are no folder: the rest is verified, and all isn't accounted for."""
    pulled.rows("UPDATE profiles SET settings = replace(settings, 'verifyoffice', 'nobody')")
    shutil.rmtree(pulled.there.folder / "blobs")
    (pulled.there.folder / "blobs").touch()

    code, out, _ = told("verify")

    assert code == 1
    assert "! not looked at: profile office: " in out
    assert "! not looked at: blobs: " in out
    assert "nothing wrong in what could be looked at: 5 mails in " in out


def test_a_person_and_a_script_are_told_the_same(pulled: Pulled, told: Told) -> None:
    """The table, the breach with its mail's id, exit 1; `pps status` says so until the next verification."""
    code, out, err = told("verify")
    assert (code, err) == (0, "")
    assert ["office", "4", "2", "0", "1", "0", "1", "0", "0", "2", "2"] in [line.split() for line in out.splitlines()]
    assert "all accounted for: 5 mails in " in out
    deleted_undone(pulled)

    code, out, err = told("verify", "--json", "--no-remote")

    document = json.loads(out)
    assert (code, err) == (1, "")
    assert (document["breaches"], document["kinds"], document["whole"]) == (1, {"deleted_undone": 1}, False)
    assert document["found"][0]["subject"] == pulled.mail(f"octets >= {LARGE}")
    troubles = json.loads(told("status", "--json")[1])["troubles"]
    (trouble,) = [one for one in troubles if one["what"] == "breaches"]
    assert (trouble["count"], trouble["mend"]) == (1, "see what it is: pps verify")


@pytest.mark.usefixtures("pulled")
def test_wrong_uses_are_one_line(told: Told) -> None:
    """A name that isn't there, two decisions at once, and one that nothing asks for."""
    no_profile = 'pps: pps.toml: verify: the ledger knows no profile "ofice": did you mean "office"?\n'
    assert told("verify", "ofice") == (2, "", no_profile)
    withheld = "pps: pps.toml: verify: nothing is withheld: mail is deleted as ever\n"
    assert told("verify", "--accept") == (1, "", withheld)
    assert told("verify", "--accept", "office")[0] == 2


def test_an_administrator_may_say_that_the_ledger_was_restored(pulled: Pulled, told: Told) -> None:
    """For what nobody can tell by the blobs: they came back with it."""
    assert told("verify", "--restored", "--json") == (0, '{"withheld": true}\n', "")

    assert "without names and --no-remote" in told("verify", "--accept")[2]
    verified = told("verify")[1]
    (trouble,) = [one for one in json.loads(told("status", "--json")[1])["troubles"] if one["what"] == "restored"]
    assert trouble["reason"] == "an administrator says that the ledger comes from a backup: nothing is deleted"
    assert "once you have read this: pps verify --accept" in verified
    assert told("verify", "--accept") == (0, "mail is deleted again\n", "")
    assert pulled.rows("SELECT count(*) FROM installation WHERE accepted_at >= restored_at") == [(1,)]


async def poll(there: Installation) -> ProfileStatus:
    """Start the service, have it poll once, and stop it."""
    async with there.serving() as serving:
        return await serving.poll()


async def test_a_ledger_that_came_back_from_a_backup_deletes_nothing_before_verify_was_read(
    mailbox: Mailbox, tmp_path: Path
) -> None:
    """Its fetcher sees it by the witness beside the blobs; mail is delivered meanwhile, and deleted once accepted."""
    there = install(tmp_path, profile(mailbox, interval="1h"))
    mailbox.plant(mail())
    await poll(there)
    shutil.copy(tmp_path / "pps.db", tmp_path / "backup.db")
    mailbox.plant(mail())
    await poll(there)
    assert mailbox.remaining() == []
    shutil.copy(tmp_path / "backup.db", tmp_path / "pps.db")
    mailbox.plant(mail())

    why = "the ledger comes from a backup: it is older than what was written last"
    assert (await poll(there)).last_error == f"mail is not deleted: {why}: see `pps verify`"

    assert (len(mailbox.remaining()), len(there.inbox("ann"))) == (1, 3)
    assert [line["reason"] for line in there.events("ledger_restored")] == [why]
    with pytest.raises(PpsError, match="nothing was verified since"):
        await accept(there.config)
    await verify(there.config, (), remote=False)
    with pytest.raises(PpsError, match="nothing was verified since"):
        await accept(there.config)  # the servers were not looked at
    report = await verify(there.config, (), remote=True)
    assert (report.total, report.restored) == (0, why)
    assert (await poll(there)).last_error is not None
    await accept(there.config)
    assert (await poll(there)).last_error is None
    assert (mailbox.remaining(), len(there.inbox("ann"))) == ([], 3)
