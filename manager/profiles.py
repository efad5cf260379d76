"""What `pps profile` does in the ledger, beside whatever runs: a running service sees it at its next poll."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.config import MANAGED_BY_FILE, Config
from common.config_errors import nearest
from common.failures import PpsError, UsageError
from common.ledger import Ledger, sealing
from common.ledger import profiles as operations
from common.ledger.profile_rows import LASTING, REMOVED
from common.ledger.profiles import LeftBehind, ProfileChange, Saved, StoredProfile, Switch
from common.ledger.sealing import Resealed, SealedGrant
from common.log import open_log
from common.messages import one_line
from common.passwords import Passwords
from common.profile import PROFILE_SECRETS, Profile
from common.secrets import STORED, Secret, seal, unseal

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A profile of the file, of the ledger, or of both."""

    profile: Profile
    managed_by: str
    stored: StoredProfile | None  # None: not in the ledger yet
    synced: bool = True  # whether the ledger has what the file says

    @property
    def state(self) -> str:
        """Whether it is polled, in one word or two."""
        if self.managed_by == REMOVED:
            return REMOVED
        word = "enabled" if self.profile.enabled else "disabled"
        return word if self.synced else f"{word}, not synced"

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it: its keys, without what a command's arguments may hold."""
        under_way = 0 if self.stored is None else self.stored.under_way
        beside = {"managed_by": self.managed_by, "state": self.state, "synced": self.synced, "under_way": under_way}
        return (
            self.profile.model_dump(mode="json")
            | {key: shown(getattr(self.profile, key)) for key in PROFILE_SECRETS}
            | beside
        )


def shown(reference: str | None) -> str:
    """Return a reference as it may be shown: of a command only the program, its arguments may hold anything."""
    if reference is None:
        return "none"
    kind, _, rest = reference.partition(":")
    return f"command:{rest.split()[0]} …" if kind == "command" and len(rest.split()) > 1 else reference


@asynccontextmanager
async def opened_ledger(config: Config) -> AsyncIterator[Ledger]:
    """Open the ledger beside whatever runs; raises PpsError."""
    log = open_log("-", config.base, level="error")
    ledger = await Ledger.open(config.service.ledger, base=config.base, log=log)
    try:
        yield ledger
    finally:
        await ledger.close()


def has_ledger(config: Config) -> bool:
    """Whether there is a ledger to look into: looking makes none."""
    url = config.service.ledger
    return not url.startswith(_SQLITE) or Path(url.removeprefix(_SQLITE)).exists()


async def known_profiles(config: Config) -> tuple[Known, ...]:
    """Return all profiles, by name: the file's, the manager's, and removed ones that still have mail under way."""
    rows: Sequence[StoredProfile] = ()
    if has_ledger(config):
        async with opened_ledger(config) as ledger:
            rows = await ledger.read(operations.stored)
    return _known(config, rows)


def _known(config: Config, rows: Iterable[StoredProfile]) -> tuple[Known, ...]:
    named = {row.profile.name: row for row in rows}
    found = [_of_file(profile, named.pop(profile.name, None)) for profile in config.profiles]
    found += [
        Known(profile=row.profile, managed_by=row.managed_by, stored=row, synced=row.managed_by != MANAGED_BY_FILE)
        for row in named.values()
        if row.managed_by in LASTING or (row.managed_by == REMOVED and row.under_way)
    ]
    return tuple(sorted(found, key=lambda one: one.profile.name))


def _of_file(profile: Profile, row: StoredProfile | None) -> Known:
    synced = row is not None and row.managed_by == MANAGED_BY_FILE and row.profile == profile
    return Known(profile=profile, managed_by=MANAGED_BY_FILE, stored=row, synced=synced)


def named(profiles: Iterable[Known], name: str, config: Config) -> Known:
    """Return the profile of this name; raises UsageError that names the nearest."""
    profiles = [one for one in profiles if one.managed_by != REMOVED]
    for one in profiles:
        if one.profile.name == name:
            return one
    words = [one.profile.name for one in profiles]
    raise UsageError(f'{config.path}: no profile "{one_line(name, 64)}": {nearest(name, words)}')


async def own(config: Config, name: str, *, mend: str) -> Known:
    """Return a profile of the manager; raises UsageError with the mend for one that the file has."""
    found = named(await known_profiles(config), name, config)
    if any(one.name == name for one in config.profiles):
        raise UsageError(f'{config.path}: profile "{name}" is the file\'s: {mend} there, then `pps profile sync`')
    return found


async def save(config: Config, change: ProfileChange, typed: Secret | None) -> LeftBehind:
    """Add or change a profile of the manager, its typed password sealed; raises PpsError, and then nothing changed."""
    _require_target(config, change.profile)
    _require_other_name(config, change)
    async with opened_ledger(config) as ledger:
        if typed is not None:
            sealed = await passwords(config, ledger).sealed(typed)
            change = ProfileChange(
                profile=change.profile, new=change.new, same_mailbox=change.same_mailbox, sealed=sealed
            )
        saved = await ledger.write(operations.SAVE, change)
    return _done(saved).left_behind


def _require_target(config: Config, profile: Profile) -> None:
    if profile.target not in config.targets:
        mend = nearest(profile.target, config.targets)
        raise UsageError(f"--target: {config.path} has no [target.{profile.target}]: {mend}")


def _require_other_name(config: Config, change: ProfileChange) -> None:
    """The file's profiles may not be in the ledger yet: they count all the same."""
    for one in config.profiles:
        if one.name == change.profile.name:
            raise UsageError(f'{config.path}: there is a [[profile]] "{one.name}" in the file: take another name')
        if one.enabled and change.profile.enabled and one.mailbox == change.profile.mailbox:
            raise UsageError(
                f'--server and --user are those of [[profile]] "{one.name}" in {config.path}, and each would take the '
                "other's mail: disable one"
            )


async def switch(config: Config, name: str, *, enabled: bool = False, removed: bool = False) -> int:
    """Enable, disable or remove a profile of the manager; return how many of its mails are under way."""
    async with opened_ledger(config) as ledger:
        return _done(
            await ledger.write(operations.SWITCH, Switch(name=name, enabled=enabled, removed=removed))
        ).under_way


async def sync(config: Config, same_mailbox: Iterable[str] = ()) -> LeftBehind:
    """Bring the file's profiles into the ledger; return those that are on a new mailbox now."""
    async with opened_ledger(config) as ledger:
        return await ledger.sync_profiles(config.profiles, managed_by=MANAGED_BY_FILE, same_mailbox=same_mailbox)


async def moved_in_file(config: Config) -> tuple[str, ...]:
    """Return the file's profiles whose server or user is another than the ledger's."""
    found = await known_profiles(config)
    return tuple(
        one.profile.name
        for one in found
        if one.stored is not None and one.stored.profile.mailbox != one.profile.mailbox and one.managed_by in LASTING
    )


async def with_stored_password(config: Config, name: str) -> Known:
    """Return a profile whose password is typed; raises UsageError for others. One of the file is synced first."""
    known = named(await known_profiles(config), name, config)
    if known.profile.password != STORED:
        here = f'set password = "{STORED}" in {config.path}'
        mend = here if known.managed_by == MANAGED_BY_FILE else f"`pps profile edit {name} --password-stdin`"
        raise UsageError(f"{name}: its password is found at {shown(known.profile.password)}: to type one, {mend}")
    if known.stored is None or not known.synced:
        await sync(config)
        known = named(await known_profiles(config), name, config)
    return known


async def store_password(config: Config, known: Known, typed: Secret) -> None:
    """Seal a typed password for a profile."""
    async with opened_ledger(config) as ledger:
        sealed = await passwords(config, ledger).sealed(typed)
        profile_id = "" if known.stored is None else known.stored.profile_id
        if not await ledger.write(sealing.STORE, Resealed(profile_id=profile_id, sealed=sealed)):
            raise PpsError(f'there is no profile "{known.profile.name}" any more: `pps profile list`')


async def reseal(config: Config) -> int:
    """Seal all stored passwords and grants anew, under the newest key; return how many; raises PpsError."""
    async with opened_ledger(config) as ledger:
        keys = await passwords(config, ledger).keys()
        known = [(one.profile_id, one.sealed) for one in await ledger.read(operations.stored) if one.sealed is not None]
        fresh = [Resealed(profile_id=key, was=was, sealed=seal(unseal(was, keys), keys)) for key, was in known]
        grants = [
            SealedGrant(mailbox=mailbox, was=was, sealed=seal(unseal(was, keys), keys))
            for mailbox, was in await ledger.read(sealing.sealed_grants)
        ]
        done = [await ledger.write(sealing.STORE, one) for one in fresh]
        done += [await ledger.write(sealing.RESEAL_GRANT, one) for one in grants]
        return sum(done)


def passwords(config: Config, ledger: Ledger) -> Passwords:
    """Return where profiles' passwords are found."""
    return Passwords(ledger=ledger, key=config.service.key, base=config.base)


def _done(saved: Saved) -> Saved:
    if saved.refused is not None:
        raise saved.refused
    return saved
