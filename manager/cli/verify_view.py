"""How `pps verify` looks: a Report as lines and tables for people, and as a document for scripts. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from common.counted import counted
from manager.cli.moments import iso
from manager.cli.tables import Block, Line, Rows
from manager.verify.account import Account, Kind, Report

SHOWN: Final = 50
"""Breaches that a terminal shows; --json has more."""

_WORDS: Final = {
    Kind.DELETED_UNDELIVERED: "deleted on the server, delivered to nobody",
    Kind.DELETED_UNDONE: "deleted on the server before everybody had it",
    Kind.KEPT_UNDELIVERED: "kept as delivered, delivered to nobody",
    Kind.ROUTED_TO_NOBODY: "routed to nobody",
    Kind.COPY_WITHOUT_DELIVERY: "copy without a delivery",
    Kind.DELIVERY_WITHOUT_MAIL: "delivery without a mail",
    Kind.DELIVERED_WITHOUT_REPLY: "delivered without the target's yes",
    Kind.CONTENT_NOWHERE: "its bytes are nowhere",
    Kind.BLOB_WITHOUT_ROW: "blob without a row",
    Kind.BLOB_DIFFERS: "blob is not what was fetched",
    Kind.FILE_DIFFERS: "file is not what was fetched",
    Kind.LISTED_WITHOUT_ROW: "on the server, and passed over by polls",
}


def blocks_of(report: Report) -> Iterator[Block]:
    """Yield what was counted, then what must not be."""
    if report.accounts:
        counts = ("delivered", "under way", "quarantined", "discarded", "skipped", "removed", "lost")
        headings = ("profile", "mails", *counts, "on server", "listed")
        yield Rows(headings, [_row(account) for account in report.accounts.values()])
        yield Line("")
    for text in (*_of_servers(report), *_of_targets(report), *_of_blobs(report)):
        yield Line(text)
    yield Line("")
    for breach in report.breaches[:SHOWN]:
        whose = "" if breach.profile is None else f", profile {breach.profile}"
        yield Line(f"! {_WORDS[breach.kind]}: {breach.subject}{whose}: {breach.says}", style="red")
    for why in report.held:
        yield Line(f"not looked at now: {why}")
    for why in report.unlooked:
        yield Line(f"! not looked at: {why}", style="yellow")
    yield Line(_end(report), style="bold red" if report.total else "bold green")
    if report.restored is not None:
        yield Line(f"nothing is deleted: {report.restored}", style="yellow")
        yield Line("  -> once you have read this: pps verify --accept")


def _row(account: Account) -> list[str]:
    numbers = (
        account.mails,
        account.delivered,
        account.under_way,
        account.quarantined,
        account.discarded,
        account.skipped,
        account.removed,
        account.lost,
        account.on_server,
    )
    listed = str(account.remote.listed) if account.remote.looked else "-"
    return [account.name, *(str(number) for number in numbers), listed]


def _of_servers(report: Report) -> Iterator[str]:
    for account in report.accounts.values():
        remote = account.remote
        found = (
            (remote.new, "new, for the next poll"),
            (remote.came_back, "there although recorded as deleted or gone: a deletion that was not carried out"),
            (remote.vanished, "gone since the last poll"),
            (remote.unnamed, f"without a UIDL of their own ({remote.unnamed_known} of these on record)"),
        )
        told = [f"{count} {words}" for count, words in found if count]
        if told:
            yield f"server of {account.name}: {'; '.join(told)}"


def _of_targets(report: Report) -> Iterator[str]:
    for one in report.targets.values():
        if one.transport == "reply":
            yield f"target {one.target}: {one.delivered} delivered, each with the target's reply on record"
            continue
        found = (
            (one.present, "are as they were fetched"),
            (one.untold, "are there, and can't be compared"),
            (one.changed, "were changed since by somebody"),
            (one.gone, "are gone since"),
            (one.unseen, "are in folders that can't be looked into from here"),
        )
        told = "; ".join(f"{count} {words}" for count, words in found if count)
        yield f"target {one.target}: {one.delivered} delivered, of which {told}"


def _of_blobs(report: Report) -> Iterator[str]:
    blobs = report.blobs
    if blobs.looked:
        missing = f", {blobs.missing} missing and fetched again" if blobs.missing else ""
        yield f"blobs: {blobs.blobs}, {blobs.octets} octets; {blobs.orphaned} of mails that are done with{missing}"


def _end(report: Report) -> str:
    took = f"{counted(report.mails, 'mail')} in {report.seconds:.1f} s"
    if report.total:
        more = f"; the first {SHOWN} are shown" if report.total > SHOWN else ""
        return f"{report.total} that must not be, of {took}{more}"
    return f"all accounted for: {took}" if not report.unlooked else f"nothing wrong in what could be looked at: {took}"


def document_of(report: Report) -> dict[str, Any]:
    """Return what `pps verify --json` prints: docs/json.md describes it."""
    return {"at": iso(report.at), "seconds": report.seconds, **report.document()}
