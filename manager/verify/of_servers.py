"""The remote mailboxes against the ledger: LIST and UIDL under a lease, never a RETR, a DELE or a poll taken away."""

import asyncio
import hashlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from common.blobs import BlobStore
from common.config import Config
from common.failures import PollError, PollResult, PpsError
from common.ledger import Ledger
from common.ledger.accounting import by_content, by_uidl, on_server, polled
from common.ledger.borrowing import BORROW, GIVE_BACK, Borrowed, Returned, Wish
from common.ledger.reader import Reader
from common.ledger.records import Lease
from common.ledger.verified import SeenNew
from fetcher.identity import CONTENT_KEY, CONTENT_KEYS_END
from fetcher.pop3 import Listed
from manager.profiles import Known
from manager.sign_in import secret_of, signed_in
from manager.verify.account import Account, Kind, Report
from manager.verify.of_ledger import check_vanished

SESSIONS: Final = 8
"""Mailboxes that are looked at at a time."""

SECONDS: Final = 150.0
"""How long one mailbox may take: less than a lease lasts."""

PATIENCE_SECONDS: Final = 30.0
"""How long a mailbox that is being polled is waited for."""

_BUSY: Final = frozenset({PollResult.IN_USE, PollResult.THROTTLED})

LOOK_SECONDS: Final = 0.5

MOST_NEW: Final = 50
"""New mails of a mailbox that the next verification asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What is needed to look at mailboxes."""

    config: Config
    ledger: Ledger
    reader: Reader
    blobs: BlobStore | None
    report: Report
    before: Mapping[str, SeenNew]  # by profile's name

    async def look(self, profiles: Iterable[Known]) -> None:
        """Look at the mailboxes of these profiles, a few at a time; what can't be looked at is noted."""
        places = asyncio.Semaphore(SESSIONS)

        async def looked(known: Known) -> None:
            async with places:
                await self._look_at(known)

        await asyncio.gather(*(looked(known) for known in profiles))

    async def _look_at(self, known: Known) -> None:
        assert known.stored is not None  # noqa: S101 (only profiles of the ledger are verified)
        account = self.report.accounts[known.stored.profile_id]
        if not known.profile.enabled:
            return  # it isn't polled either
        try:
            async with asyncio.timeout(SECONDS):
                await self._compare(known, account)
        except PpsError as error:
            account.remote.why_not = str(error)
            account.remote.held = isinstance(error, PollError) and error.result in _BUSY
        except TimeoutError:
            account.remote.why_not = f"{known.profile.server}: no end within {SECONDS:.0f} s"

    async def _compare(self, known: Known, account: Account) -> None:
        borrowed = await self._borrowed(known)
        if borrowed.lease is None:
            account.remote.why_not, account.remote.held = borrowed.why_not, True
            return
        async with self._returned(borrowed.lease) as delay:
            secret = await secret_of(self.config, known.profile, known)
            async with signed_in(self.config, known.profile, secret) as connection:
                delay.append(connection.capabilities.login_delay)
                listing = await connection.listing()
            await self._told_apart(borrowed.lease, listing, account)

    async def _borrowed(self, known: Known) -> Borrowed:
        """Return the lease, when who polls the mailbox now is done with it."""
        assert known.stored is not None  # noqa: S101 (as above)
        owner = f"{socket.gethostname()}:verify"[:64]
        wish = Wish(profile_id=known.stored.profile_id, owner=owner, per_host=self.config.service.host_sessions)
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            borrowed = await self.ledger.write(BORROW, wish)
            if not borrowed.passing or asyncio.get_running_loop().time() > until:
                return borrowed
            await asyncio.sleep(LOOK_SECONDS)

    @asynccontextmanager
    async def _returned(self, lease: Lease) -> AsyncIterator[list[int]]:
        """Give the lease back in the end, with the server's wish for a pause."""
        delays: list[int] = []
        try:
            yield delays
        finally:
            returned = Returned(lease=lease, login_delay=max(delays, default=0))
            await self.ledger.write(GIVE_BACK, returned)

    async def _told_apart(self, lease: Lease, listing: Sequence[Listed], account: Account) -> None:
        """Count what is listed by what the ledger says of it, while nobody changes either."""
        remote, mailbox = account.remote, lease.profile.mailbox
        by_their_content = await by_content(self.reader, mailbox, CONTENT_KEY, CONTENT_KEYS_END)
        doubted = {bytes(row["uidl"]) for row in by_their_content}
        seen = Counter(mail.uidl for mail in listing)
        uidls = {mail.uidl for mail in listing if mail.uidl and seen[mail.uidl] == 1 and mail.uidl not in doubted}
        known = await by_uidl(self.reader, mailbox, uidls)
        here = {key for key, row in known.items() if row["unseen_since"] is None and row["state"] != "deleted"}
        new = uidls - known.keys()
        remote.looked, remote.listed, remote.known = True, len(listing), len(here)
        remote.came_back = len(known) - len(here)
        remote.new = len(new)
        remote.unnamed = len(listing) - len(uidls)
        remote.unnamed_known = sum(row["unseen_since"] is None for row in by_their_content)
        remote.new_uidls = tuple(sorted(_hashed(uidl) for uidl in new))[:MOST_NEW]
        await self._overlooked(lease, remote.new_uidls, account.name)
        await self._vanished(lease, uidls, len(listing), account)

    async def _overlooked(self, lease: Lease, new: Collection[str], name: str) -> None:
        """Find mails that were listed at the last verification, and that a good poll since made no row for."""
        before = self.before.get(name)
        last = await polled(self.reader, lease.profile_id)
        began, ended = last["last_started_at"] or 0, last["last_success_at"] or 0
        if before is None or not before.at < began <= ended:
            return
        for one in sorted(before.uidls & set(new)):
            says = "listed by the server at the last verification and now, and polls since made no row for it"
            self.report.add(Kind.LISTED_WITHOUT_ROW, one, says, lease.profile_id)

    async def _vanished(self, lease: Lease, uidls: Collection[bytes], listed: int, account: Account) -> None:
        """Count what the ledger has as on the server, and isn't; believe it where the listing can be believed."""
        believed = listed * 2 >= (await polled(self.reader, lease.profile_id))["listed"]
        believed = believed and not lease.profile.lists_in_parts
        async for rows in on_server(self.reader, lease.profile.mailbox):
            own = [row for row in rows if not bytes(row["uidl_key"]).startswith(CONTENT_KEY)]
            gone = [row["id"] for row in own if bytes(row["uidl_key"]) not in uidls]
            account.remote.vanished += len(gone)
            if believed:
                await check_vanished(self.reader, self.blobs, gone, self.report)


def _hashed(uidl: bytes) -> str:
    """Return what a UIDL is known by from one verification to the next: it may be any octets."""
    return hashlib.sha256(uidl).hexdigest()[:32]
