"""Profiles as the ledger keeps them: whose they are, how a changed mailbox is taken, and their sealed passwords.

Mails belong to the mailbox. A profile that moves to another one leaves a row behind, disabled and `removed`, as long as
there are mails of the old one; a profile on a mailbox that was left so takes that row up again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PpsError, UsageError
from common.ledger.profile_rows import Book, ProfileRow, changed, has_mails, is_polling, move_mails, under_way
from common.ledger.recorded import FILE, LASTING, MANAGER, REMOVED
from common.ledger.rows import clock
from common.ledger.schema import new_id, profiles, schedule
from common.ledger.writer import Operation
from common.profile import Profile
from common.secrets import STORED


class MailboxUnsaidError(UsageError):
    """Server or user changed, and only a person knows whether it is the same mailbox."""


LeftBehind = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSet:
    """All profiles of one manager: those it no longer names are disabled, their rows stay until all is settled."""

    managed_by: str
    profiles: tuple[Profile, ...]
    same_mailbox: frozenset[str] = frozenset()  # names whose new server or user is the old mailbox, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """A profile of the manager, to be added or changed."""

    profile: Profile
    new: bool
    same_mailbox: bool | None = None  # whether a new server or user is the old mailbox, renamed; None: nobody said
    sealed: bytes | None = field(default=None, repr=False)  # the password, where it is a new one and is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What became of a change: either it was refused, and nothing was written, or all of it was."""

    refused: PpsError | None = None
    left_behind: LeftBehind = ()  # profiles on a new mailbox, each with the name of the old one's row
    under_way: int = 0  # mails that are fetched and not yet with all their recipients


async def _sync(connection: AsyncConnection, sets: Sequence[ProfileSet]) -> list[Saved]:
    book = await _book(connection)
    return [await _sync_one(book, wanted) for wanted in sets]


async def _sync_one(book: Book, wanted: ProfileSet) -> Saved:
    for profile in wanted.profiles:
        if wanted.managed_by in LASTING and (error := await _conflict(book, profile, wanted)) is not None:
            return Saved(refused=error)
    named = {profile.name for profile in wanted.profiles}
    for row in book.of(wanted.managed_by):
        if row.name not in named:
            kept_by = REMOVED if wanted.managed_by == FILE else row.managed_by
            await book.change(row, enabled=False, managed_by=kept_by)
    left = [
        await _put(book, profile, wanted.managed_by, same_mailbox=profile.name in wanted.same_mailbox)
        for profile in wanted.profiles
    ]
    return Saved(left_behind=tuple(one for one in left if one is not None))


async def _conflict(book: Book, profile: Profile, wanted: ProfileSet) -> PpsError | None:
    row = book.named(profile.name)
    if row is not None and row.managed_by in LASTING and row.managed_by != wanted.managed_by:
        return UsageError(
            f'[[profile]] "{profile.name}" name: `pps profile add` made a profile of this name: rename one, '
            f"or `pps profile remove {profile.name}`"
        )
    others = [one for one in book.on(profile.mailbox) if one.managed_by not in {wanted.managed_by, REMOVED}]
    if profile.enabled and (other := _enabled(others, profile.name)) is not None:
        return UsageError(
            f'[[profile]] "{profile.name}" server and user are those of "{other.name}", which `pps profile add` made, '
            "and each would take the other's mail: disable one"
        )
    if row is not None and profile.name in wanted.same_mailbox:
        return await _unmovable(book, row, profile)
    return None


async def _save(connection: AsyncConnection, changes: Sequence[ProfileChange]) -> list[Saved]:
    book = await _book(connection)
    return [await _save_one(book, change) for change in changes]


async def _save_one(book: Book, change: ProfileChange) -> Saved:
    profile = change.profile
    row = book.named(profile.name)
    error = _misnamed(row, change) or _taken(book, profile)
    if error is not None:
        return Saved(refused=error)
    if row is not None and not change.new and row.mailbox != profile.mailbox:
        if change.same_mailbox:
            error = await _unmovable(book, row, profile)
        elif change.same_mailbox is None and await has_mails(book.connection, row.mailbox):
            return Saved(refused=_unsaid(profile.name))
    if error is not None:
        return Saved(refused=error)
    left = await _put(book, profile, MANAGER, same_mailbox=bool(change.same_mailbox), sealed=change.sealed)
    return Saved(left_behind=() if left is None else (left,))


def _misnamed(row: ProfileRow | None, change: ProfileChange) -> PpsError | None:
    name = change.profile.name
    there = row is not None and row.managed_by in LASTING
    if change.new and there:
        return UsageError(f'there is a profile "{name}" already: `pps profile edit {name}`, or another name')
    if not change.new and not there:
        return UsageError(f'there is no profile "{name}" any more: `pps profile list`')
    return None


def _unsaid(name: str) -> PpsError:
    return MailboxUnsaidError(
        f"{name}: another server or user: --same-mailbox if it is the same mailbox under a new name, whose mails keep "
        "their history, or else --new-mailbox"
    )


def _taken(book: Book, profile: Profile) -> PpsError | None:
    other = _enabled((row for row in book.on(profile.mailbox) if row.managed_by in LASTING), profile.name)
    if other is None or not profile.enabled:
        return None
    return UsageError(
        f'--server and --user are those of profile "{other.name}", and each would take the other\'s mail: '
        f"disable one, or `pps profile edit {other.name}`"
    )


def _enabled(rows: Iterable[ProfileRow], but: str) -> ProfileRow | None:
    return next((row for row in rows if row.enabled and row.name != but), None)


async def _unmovable(book: Book, row: ProfileRow, profile: Profile) -> PpsError | None:
    """Return why a mailbox's mails can't take its new name now; None: they can."""
    if row.mailbox == profile.mailbox:
        return None
    if await is_polling(book.connection, row.id):
        return PpsError(f"{row.name}: is being polled: wait for the end (`pps status`) and say it again")
    if await has_mails(book.connection, profile.mailbox):
        return PpsError(f"{row.name}: mails of {profile.server} {profile.user} are on record already: --new-mailbox")
    return None


async def _put(
    book: Book, profile: Profile, managed_by: str, *, same_mailbox: bool, sealed: bytes | None = None
) -> tuple[str, str] | None:
    """Write one profile that nothing speaks against; return (name, row left behind) if it left its old mailbox."""
    row, left = book.named(profile.name), None
    secret = sealed or (None if row is None else row.secret)
    earlier = next((one for one in book.on(profile.mailbox) if one.managed_by == REMOVED and one is not row), None)
    if row is not None and row.mailbox != profile.mailbox:
        if same_mailbox:
            await move_mails(book.connection, row.mailbox, profile.mailbox)
            await book.break_leases(row)
        elif await book.is_free(row):
            if earlier is not None:
                await book.delete(row)
                row = None
        else:
            left = (profile.name, await book.leave_behind(row))
            row = None
    row = row or earlier
    if row is None:
        await _insert(book, profile, managed_by, secret if profile.password == STORED else None)
        return left
    values = {
        "name": profile.name,
        "enabled": profile.enabled,
        "mailbox": profile.mailbox,
        "settings": profile.to_json(),
        "managed_by": managed_by,
        "secret": secret if profile.password == STORED else None,
    }
    if changed(row, values):
        await book.change(row, **values)
        if row.enabled:
            await book.wake(row)
    return left


async def _insert(book: Book, profile: Profile, managed_by: str, sealed: bytes | None) -> None:
    row = ProfileRow(
        id=new_id(),
        name=profile.name,
        enabled=profile.enabled,
        revision=1,
        mailbox=profile.mailbox,
        settings=profile.to_json(),
        secret=sealed,
        managed_by=managed_by,
    )
    await book.connection.execute(insert(profiles).values(**row.values()))
    due_at = book.time if row.enabled else None
    first = {"profile_id": row.id, "due_at": due_at, "lease_epoch": 0, "auth_failures": 0, "failures": 0}
    await book.connection.execute(insert(schedule).values(listed=0, shrunk=False, host=profile.host, **first))
    book.add(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A profile of the manager that is to be polled, or no more; or, `removed`, to be forgotten."""

    name: str
    enabled: bool = False
    removed: bool = False


async def _switch(connection: AsyncConnection, switches: Sequence[Switch]) -> list[Saved]:
    book = await _book(connection)
    return [await _switch_one(book, switch) for switch in switches]


async def _switch_one(book: Book, switch: Switch) -> Saved:
    row = book.named(switch.name)
    if row is None:
        return Saved(refused=UsageError(f'there is no profile "{switch.name}" any more: `pps profile list`'))
    profile = Profile.from_json(row.settings).model_copy(update={"enabled": switch.enabled})
    error = _taken(book, profile)
    if error is not None:
        return Saved(refused=UsageError(f"{switch.name}: {str(error).removeprefix('--')}"))
    waiting = (await under_way(book.connection)).get(row.id, 0)
    if switch.removed and await book.is_free(row):
        await book.delete(row)
        return Saved()
    # What is on its way needs the row; the password is needed no more.
    gone = {"managed_by": REMOVED, "secret": None} if switch.removed else {}
    await book.change(row, enabled=switch.enabled, settings=profile.to_json(), **gone)
    if switch.enabled:
        await book.wake(row)
    return Saved(under_way=waiting)


async def _book(connection: AsyncConnection) -> Book:
    """Read all profiles; until the commit nobody else changes any, or adds one on the same mailbox."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("LOCK TABLE profiles IN SHARE ROW EXCLUSIVE MODE"))
    rows = (await connection.execute(select(profiles))).all()
    return Book(connection, await clock(connection), [ProfileRow(**row._mapping) for row in rows])  # noqa: SLF001 (SQLAlchemy's public name)


SYNC: Final[Operation[ProfileSet, Saved]] = Operation(
    name="sync_profiles", rank=0, key=lambda wanted: wanted.managed_by, apply=_sync
)
SAVE: Final[Operation[ProfileChange, Saved]] = Operation(
    name="save_profile", rank=0, key=lambda change: change.profile.name, apply=_save
)
SWITCH: Final[Operation[Switch, Saved]] = Operation(
    name="switch_profile", rank=0, key=lambda switch: switch.name, apply=_switch
)
