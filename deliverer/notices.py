"""Tells people of what needs them: one mail a receiver, one post to the webhook, for all that was found meanwhile.

Every deliverer looks; the ledger's claim has one of them send. A notice is no delivery: whatever becomes of it, no
notice tells of it.
"""

import asyncio
import hashlib
import json
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.config import Config
from common.failures import PpsError
from common.header import split_header
from common.ledger.notice_board import NoticeBoard
from common.ledger.notices import Kind, Notice, Wanted
from common.ledger.schema import new_id
from common.messages import MAX_INLINE, DeliveryJob, Inline, Result
from common.notice_settings import Notices
from common.profile import Profile
from deliverer.content import ContentSource
from deliverer.notice_mail import mail_of
from deliverer.target import ClaimLostError, Target

LOOK_SECONDS: Final = 20.0
"""How often it is looked for what needs a person: what is found in one look comes together."""

GROWTH_LOOKS: Final = 45
"""One look in so many asks how full the remote mailboxes are: a quarter of an hour."""

WEBHOOK_SECONDS: Final = 20.0

Receivers = Mapping[tuple[str, str], Sequence[Notice]]
"""What to tell, by target and address."""


class Notifier:
    """Looks and tells until it is stopped."""

    def __init__(
        self,
        *,
        settings: Notices,
        board: NoticeBoard,
        blobs: BlobStore,
        targets: Callable[[], Mapping[str, Target]],
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._board = board
        self._blobs = blobs
        self._targets = targets
        self._log = log
        self._looks = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look every LOOK_SECONDS until `stop` is set."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
                    return
            try:
                await self.look()
            except PpsError as error:
                self._log.warning("notices_unanswered", error=str(error))
            except Exception:  # noqa: BLE001 (telling must never end what it tells of)
                self._log.exception("notices_crashed")

    async def prepare(self, config: Config) -> Callable[[], None]:
        """See Reconfigurable."""

        def put_in_force() -> None:
            self._settings = config.notices

        return put_in_force

    async def look(self) -> None:
        """Find what is new, log it, and tell it, unless the last time was too short ago."""
        wanted = Wanted(down_after=self._settings.down_after, growth=self._looks % GROWTH_LOOKS == 0)
        self._looks += 1
        found = await self._board.noticeable(wanted)
        if found:
            await self._board.record(found)
            for finding in found:
                self._log.warning("notice", kind=finding.kind.value, about=finding.subject, text=finding.text)
        elif not await self._board.wait():
            return
        notices = await self._board.claim(self._settings.every)
        if notices and await self._tell(notices):
            await self._board.sent([notice.id for notice in notices])

    async def _tell(self, notices: Sequence[Notice]) -> bool:
        """Tell by every way that is set; False: one of them failed, and all is told again later."""
        told = [await self._mail(*to, group) for to, group in (await self._receivers(notices)).items()]
        if self._settings.webhook is not None:
            told.append(await self._post(self._settings.webhook, notices))
        return all(told)

    async def _receivers(self, notices: Sequence[Notice]) -> Receivers:
        if not self._settings.to:
            return {}
        profiles = dict(await self._board.profiles())
        groups: dict[tuple[str, str], list[Notice]] = defaultdict(list)
        for notice in notices:
            concerned = [profiles[notice.profile_id]] if notice.profile_id in profiles else list(profiles.values())
            for to in {self._receiver(profile) for profile in concerned}:
                groups[to].append(notice)
        return groups

    def _receiver(self, profile: Profile) -> tuple[str, str]:
        address = self._settings.to
        if address == "local_user":
            address = profile.fallback
        elif address == "postmaster":
            domain = profile.local_domain[0] if profile.local_domain else profile.fallback.partition("@")[2]
            address = f"postmaster@{domain}" if domain else "postmaster"
        return self._settings.target or profile.target, address

    async def _mail(self, target: str, recipient: str, notices: Sequence[Notice]) -> bool:
        place = self._targets().get(target)
        if place is None:
            return self._failed("mail", f"there is no [target.{target}]")
        mail_id = new_id()
        raw = mail_of(
            notices,
            recipient=recipient,
            installation=self._board.installation,
            mail_id=mail_id,
            at=max(notice.found_at for notice in notices),
        )[:MAX_INLINE]
        job = DeliveryJob(
            delivery_id=mail_id,
            mail_id=mail_id,
            profile_id=mail_id,
            recipient=recipient,
            fallback=recipient,
            target=target,
            sender="",  # nobody is told if it can't be delivered
            content=Inline(data=raw, header_length=split_header(raw)),
            digest=hashlib.sha256(raw).digest(),
            size=len(raw),
            source_host="localhost",
            attempt=1,
            first_attempt_at=0,
            reason="notice",
        )
        content = ContentSource.of(job, self._blobs)
        try:
            attempt = await place.deliver(job, content, again=False, before_dot=_always)
        except ClaimLostError:
            return False
        # In doubt it counts as told: a second mail would be worse than one that some may miss.
        if attempt.result not in {Result.DELIVERED, Result.AMBIGUOUS}:
            return self._failed("mail", attempt.reply)
        self._log.info("notice_sent", by="mail", to=recipient, target=target, count=len(notices))
        return True

    async def _post(self, url: str, notices: Sequence[Notice]) -> bool:
        body = json.dumps({"installation": self._board.installation, "notices": [_plain(one) for one in notices]})
        try:
            await asyncio.to_thread(partial(_send, url, body.encode()))
        except OSError as error:  # of urllib's, too; the URL may hold a token, and isn't named
            return self._failed("webhook", str(getattr(error, "reason", None) or error))
        self._log.info("notice_sent", by="webhook", count=len(notices))
        return True

    def _failed(self, by: str, error: str) -> bool:
        self._log.warning("notice_not_sent", by=by, error=error)
        return False


async def _always() -> bool:
    return True


def _plain(notice: Notice) -> dict[str, object]:
    known: Kind = notice.kind
    return {"kind": known.value, "text": notice.text, "found_at": notice.found_at}


def _send(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "pps"})  # noqa: S310 (https, or loopback: checked with the configuration)
    with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS) as response:  # noqa: S310 (as above)
        response.read(1)
