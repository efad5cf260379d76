"""What a session does with each listed mail: pure, listing and ledger in, a plan out. No socket, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.ledger.records import KnownMail, ListedMail, MailState
from common.profile import Order, Profile

TRY_SKIPPED_MS: Final = 86_400_000
"""How long a mail that could not be fetched rests before it is tried again."""

UNDER_WAY_MS: Final = 5 * 60_000
"""How long after its last step a mail's outcome is expected any moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A listed mail together with what the ledger knows of it."""

    listed: ListedMail
    known: KnownMail


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do in this session; every other mail is left alone."""

    retrieve: tuple[Known, ...]  # in this order: what broke a session before comes last
    verify: tuple[Known, ...]  # delivered in an earlier session: to be verified, then deleted
    doubt: tuple[Known, ...]  # kept, but perhaps another mail by now: to be compared, never deleted
    keep: tuple[Known, ...]  # delivered, and left on the server by the profile's wish
    too_large: tuple[Known, ...]  # larger than the profile takes: to be skipped, which is recorded once
    waiting: int  # mails on their way, whose outcome may come while the session is open


def plan(listing: Sequence[ListedMail], known: dict[bytes, KnownMail], wishes: Profile, *, fetch: bool) -> Plan:
    """Plan a session as the profile wishes; `fetch` is False while the target takes nothing.

    `keep` leaves delivered mail on the server: always, or for so many seconds from when it was recorded as kept.
    """
    pairs = [Known(listed=mail, known=known[mail.uidl_key]) for mail in listing if mail.uidl_key in known]
    done = [pair for pair in pairs if is_done(pair) or pair.known.state is MailState.KEPT]
    staying = [pair for pair in done if _stays(pair.known, wishes.keep)]
    wanted = [pair for pair in pairs if wants_retrieval(pair.known)]
    fitting = [pair for pair in wanted if fetch and not _is_too_large(pair, wishes.max_size)]
    forwards = 1 if wishes.order is Order.OLDEST else -1
    return Plan(
        retrieve=tuple(sorted(fitting, key=lambda pair: (pair.known.breaks, forwards * pair.listed.number))),
        verify=tuple(pair for pair in done if not _stays(pair.known, wishes.keep)),
        doubt=tuple(pair for pair in staying if _looks_reused(pair)),
        keep=tuple(pair for pair in staying if pair.known.state not in {MailState.DELETED, MailState.KEPT}),
        too_large=tuple(
            pair for pair in wanted if _is_too_large(pair, wishes.max_size) and pair.known.state is MailState.LISTED
        ),
        waiting=sum(is_under_way(pair) for pair in pairs),
    )


def _stays(known: KnownMail, keep: bool | int) -> bool:  # noqa: FBT001 (a key of the profile: true, false or a time)
    """Whether a delivered mail is left on the server in this session."""
    if isinstance(keep, bool):
        return keep
    if known.state is MailState.DELETED:
        return False  # its time was over when it was deleted in vain
    return known.state is not MailState.KEPT or known.age < keep * 1000


def _is_too_large(pair: Known, max_size: int | None) -> bool:
    """Whether the profile doesn't take it; what was fetched before is fetched again, since its deliveries wait."""
    return max_size is not None and pair.listed.size > max_size and pair.known.digest is None


def is_done(pair: Known) -> bool:
    """Whether every recipient has the mail; one listed although deleted was deleted in vain, and is deleted again."""
    return pair.known.deletable or pair.known.state is MailState.DELETED


def _looks_reused(pair: Known) -> bool:
    """Whether a kept mail's UIDL may name another mail by now, which would never be fetched."""
    return pair.known.state is MailState.KEPT and pair.known.size != pair.listed.size


def is_under_way(pair: Known) -> bool:
    """Whether an outcome may come soon: what is deferred or quarantined is no reason to poll more often."""
    moving = pair.known.state in {MailState.FETCHED, MailState.ROUTED} and pair.known.age < UNDER_WAY_MS
    return moving and not is_done(pair)


def wants_retrieval(known: KnownMail) -> bool:
    """Whether a mail's bytes are wanted: new, sent back, or skipped long enough ago."""
    if known.state is MailState.SKIPPED:
        return known.age >= TRY_SKIPPED_MS
    return known.state is MailState.LISTED


def same_mail(known: KnownMail, *, size: int, header_hash: bytes | None) -> bool:
    """Invariant I2: the mail on the server is the one recorded, by listed size and header hash."""
    return known.header_hash is not None and known.size == size and known.header_hash == header_hash
