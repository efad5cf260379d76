"""What `pps profile` writes into the ledger, beside whatever runs: a running service sees it at its next poll."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from common.config import MANAGED_BY_FILE, Config
from common.config_errors import nearest
from common.failures import PpsError, UsageError
from common.ledger import Ledger, sealing
from common.ledger import profiles as operations
from common.ledger.profiles import LeftBehind, ProfileChange, Saved, Switch
from common.ledger.reader import LedgerReader
from common.ledger.recorded import read_profiles
from common.ledger.sealing import Resealed, SealedGrant
from common.log import open_log
from common.passwords import Passwords
from common.profile import Profile
from common.secrets import STORED, Secret, seal, unseal
from manager.profiles import Known, known_profiles, named, require_other_name, shown


@asynccontextmanager
async def opened_ledger(config: Config) -> AsyncIterator[Ledger]:
    """Open the ledger beside whatever runs; raises PpsError."""
    log = open_log("-", config.base, level="error")
    ledger = await Ledger.open(config.service.ledger, base=config.base, log=log, hurried=True)
    try:
        yield ledger
    finally:
        await ledger.close()


async def save(config: Config, change: ProfileChange, typed: Secret | None) -> LeftBehind:
    """Add or change a profile of the manager, its typed password sealed; raises PpsError, and then nothing changed."""
    _require_target(config, change.profile)
    require_apart(config, change.profile)
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


def require_apart(config: Config, profile: Profile) -> None:
    """Raise UsageError where a profile of the file, perhaps not in the ledger yet, has its name or its mailbox."""
    require_other_name(config, profile.name)
    for one in config.profiles:
        if one.enabled and profile.enabled and one.mailbox == profile.mailbox:
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
        known = [
            (one.profile_id, one.sealed) for one in await read_profiles(LedgerReader(ledger)) if one.sealed is not None
        ]
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
