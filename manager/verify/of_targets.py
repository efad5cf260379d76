"""What targets were given, against what they say: a Maildir by its files, all others by the reply that is on record."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from common.ledger.accounting import deliveries, deliveries_now, digests_of_copies
from common.ledger.reader import Found, Reader
from common.target_settings import TargetSettings
from common.target_url import Transport, parse_target
from manager.verify.account import Deliveries, Kind, Report
from manager.verify.maildirs import Delivered, Fate, Maildirs

_REFUSAL: Final = re.compile(r"[45]\d\d[ -]")
_UNDONE: Final = frozenset({"pending", "deferred", "quarantined"})


class Targets:
    """Looks at every delivery once."""

    def __init__(self, reader: Reader, settings: Mapping[str, TargetSettings], report: Report) -> None:
        self._reader = reader
        self._report = report
        urls = {name: parse_target(one.url) for name, one in settings.items()}
        self._maildirs = {name: Maildirs(url.path) for name, url in urls.items() if url.transport is Transport.MAILDIR}

    async def check(self) -> None:
        """Count what was delivered, and find what contradicts the ledger."""
        async for rows in deliveries(self._reader):
            asked_for = [row for row in rows if row["profile_id"] in self._report.accounts]
            suspects = {row["id"] for row in asked_for if _contradiction(row) is not None}
            for row in await deliveries_now(self._reader, suspects):
                breach = _contradiction(row)
                if breach is not None:
                    self._report.add(breach[0], row["id"], breach[1], row["profile_id"])
            await self._look_at([row for row in asked_for if row["state"] == "delivered" and row["done_at"]])

    async def _look_at(self, rows: Sequence[Found]) -> None:
        by_target: dict[str, list[Found]] = {}
        for row in rows:
            by_target.setdefault(row["target"], []).append(row)
        for target, given in sorted(by_target.items()):
            maildirs = self._maildirs.get(target)
            transport = "reply" if maildirs is None else "maildir"
            counts = self._report.targets.setdefault(target, Deliveries(target=target, transport=transport))
            counts.delivered += len(given)
            if maildirs is not None:
                fates = await asyncio.to_thread(partial(_fates, maildirs, [_delivered(row) for row in given]))
                for row, fate in zip(given, fates, strict=True):
                    seems_wrong = fate is Fate.DIFFERENT
                    self._count(counts, row, await self._as_a_twin(maildirs, row) if seems_wrong else fate)

    async def _as_a_twin(self, maildirs: Maildirs, row: Found) -> Fate:
        """Compare with the other mails of the copy: a job that was late may have brought one's bytes for another's."""
        twins = (await digests_of_copies(self._reader, {row["copy_id"]})).get(row["copy_id"], [])
        same = [replace(_delivered(row), digest=digest, octets=octets) for digest, octets in twins]
        fates = await asyncio.to_thread(partial(_fates, maildirs, same))
        return Fate.PRESENT if Fate.PRESENT in fates else Fate.DIFFERENT

    def _count(self, counts: Deliveries, row: Found, fate: Fate) -> None:
        match fate:
            case Fate.PRESENT:
                counts.present += 1
            case Fate.UNTOLD:
                counts.untold += 1
            case Fate.CHANGED:
                counts.changed += 1
            case Fate.GONE:
                counts.gone += 1
            case Fate.UNSEEN:
                counts.unseen += 1
            case Fate.DIFFERENT:
                says = f"{row['recipient']}'s file isn't the mail that was fetched, and was not changed since"
                self._report.add(Kind.FILE_DIFFERS, row["id"], says, row["profile_id"])


def _fates(maildirs: Maildirs, given: Sequence[Delivered]) -> list[Fate]:
    return [maildirs.fate_of(one) for one in given]


def _delivered(row: Found) -> Delivered:
    """Return what to look for. A mail that was fetched anew since may have other fields, so it is only looked for."""
    comparable = row["digest"] is not None and row["fetched_at"] is not None and row["fetched_at"] <= row["done_at"]
    return Delivered(
        delivery_id=row["id"],
        recipient=row["recipient"],
        done_at=row["done_at"],
        digest=bytes(row["digest"]) if comparable else None,
        octets=row["octets"] if comparable else None,
    )


def _contradiction(row: Found) -> tuple[Kind, str] | None:
    if row["state"] in _UNDONE and row["mail"] is None:
        return Kind.DELIVERY_WITHOUT_MAIL, f"{row['recipient']} is to get a mail that no row tells of"
    if row["state"] != "delivered":
        return None
    if row["done_at"] is None or not row["last_reply"]:
        return Kind.DELIVERED_WITHOUT_REPLY, f"delivered to {row['recipient']}, and no reply of the target is on record"
    if _REFUSAL.match(row["last_reply"]):
        return Kind.DELIVERED_WITHOUT_REPLY, f"delivered to {row['recipient']}, and the target said {row['last_reply']}"
    return None
