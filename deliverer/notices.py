"""Tells people of what needs them: one mail a receiver, one post to the webhook, for all that was found meanwhile.

Every deliverer looks; the ledger's claim has one of them send. A notice is no delivery: whatever becomes of it, no
notice tells of it.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.config import Config
from common.failures import PpsError
from common.header import split_header
from common.ledger.notice_board import NoticeBoard
from common.ledger.notices import MAX_TRIES, Notice, Wanted
from common.ledger.schema import new_id
from common.messages import MAX_INLINE, DeliveryJob, Inline, Result
from common.notice_settings import Notices
from common.profile import Profile
from deliverer.content import ContentSource
from deliverer.notice_mail import mail_of
from deliverer.target import ClaimLostError, Target
from deliverer.webhook import WebhookError, post

LOOK_SECONDS: Final = 20.0
"""How often it is looked for what needs a person: what is found in one look comes together."""

GROWTH_LOOKS: Final = 45
"""One look in so many asks how full the remote mailboxes are: a quarter of an hour."""

MAIL_SECONDS: Final = 60.0
"""How long a target may take for a notice: the others, and the next look, don't wait for one that is silent."""

GRACE_SECONDS: Final = 2.0
"""How long a notice that is being sent at the end may take: mail, which comes after it, needs the time more."""

WEBHOOK: Final = "webhook"

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
        self._told: set[tuple[str, str]] = set()  # way and notice, of those that another way has yet to tell

    async def run(self, stop: asyncio.Event) -> None:
        """Look every LOOK_SECONDS until `stop` is set."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await asyncio.wait({stopping}, timeout=LOOK_SECONDS)
                if not stop.is_set():
                    await self._look_until(stopping)
        finally:
            stopping.cancel()

    async def _look_until(self, stopping: "asyncio.Task[bool]") -> None:
        """Look; at the end of all, cut what takes longer than GRACE_SECONDS: it is told by whoever works next."""
        looking = asyncio.create_task(self._look_anyway())
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({looking}, timeout=GRACE_SECONDS)
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _look_anyway(self) -> None:
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
        """Tell by every way that is set; False: one of them failed, and by that one all is told again later."""
        told = [await self._mail(*to, group) for to, group in (await self._receivers(notices)).items()]
        url = self._settings.webhook
        if url is not None and (news := self._news(WEBHOOK, notices)):
            told.append(await self._post(url, news))
        done = {notice.id for notice in notices if all(told) or notice.tries >= MAX_TRIES}
        self._told = {(way, notice_id) for way, notice_id in self._told if notice_id not in done}
        return all(told)

    def _news(self, way: str, notices: Sequence[Notice]) -> list[Notice]:
        """Return what was not told this way before: where another way fails, nobody shall hear it twenty times."""
        return [notice for notice in notices if (way, notice.id) not in self._told]

    def _remember(self, way: str, notices: Sequence[Notice]) -> None:
        self._told |= {(way, notice.id) for notice in notices}

    async def _receivers(self, notices: Sequence[Notice]) -> Receivers:
        if not self._settings.to:
            return {}
        profiles = dict(await self._board.profiles())
        groups: dict[tuple[str, str], list[Notice]] = defaultdict(list)
        for notice in notices:
            concerned = [profiles[notice.profile_id]] if notice.profile_id in profiles else list(profiles.values())
            for to in {self._receiver(profile) for profile in concerned}:
                groups[to] += self._news(_way(*to), [notice])
        return {to: group for to, group in groups.items() if group}

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
        final = asyncio.Event()

        async def before_dot() -> bool:
            final.set()
            return True

        try:
            async with asyncio.timeout(MAIL_SECONDS):
                attempt = await place.deliver(job, content, again=False, before_dot=before_dot)
        except ClaimLostError:
            return False
        except TimeoutError:
            if not final.is_set():
                return self._failed("mail", f"{target}: no answer in {MAIL_SECONDS:.0f} s")
        else:
            if attempt.result not in {Result.DELIVERED, Result.AMBIGUOUS}:
                return self._failed("mail", attempt.reply)
        # In doubt it counts as told: a second mail would be worse than one that some may miss.
        self._remember(_way(target, recipient), notices)
        self._log.info("notice_sent", by="mail", to=recipient, target=target, count=len(notices))
        return True

    async def _post(self, url: str, notices: Sequence[Notice]) -> bool:
        try:
            await post(url, {"installation": self._board.installation, "notices": [_plain(one) for one in notices]})
        except WebhookError as error:
            return self._failed(WEBHOOK, str(error))
        self._remember(WEBHOOK, notices)
        self._log.info("notice_sent", by=WEBHOOK, count=len(notices))
        return True

    def _failed(self, by: str, error: str) -> bool:
        self._log.warning("notice_not_sent", by=by, error=error)
        return False


def _way(target: str, recipient: str) -> str:
    return f"mail {target} {recipient}"


def _plain(notice: Notice) -> dict[str, object]:
    return {"kind": notice.kind.value, "text": notice.text, "found_at": notice.found_at}
