"""The profiles of the file and of the ledger, as `pps profile` shows them; nothing is written here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.config import MANAGED_BY_FILE, Config
from common.config_errors import nearest
from common.failures import UsageError
from common.ledger.recorded import LASTING, REMOVED, StoredProfile, read_profiles
from common.messages import one_line
from common.profile import PROFILE_SECRETS, Profile
from manager.standing import reading

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
            | {key: shown(value) for key in PROFILE_SECRETS if (value := getattr(self.profile, key)) is not None}
            | beside
        )


def shown(reference: str | None) -> str:
    """Return a reference as it may be shown: of a command only the program, its arguments may hold anything."""
    if reference is None:
        return "none"
    kind, _, rest = reference.partition(":")
    return f"command:{rest.split()[0]} …" if kind == "command" and len(rest.split()) > 1 else reference


def has_ledger(config: Config) -> bool:
    """Whether there is a ledger to look into: looking makes none."""
    url = config.service.ledger
    return not url.startswith(_SQLITE) or Path(url.removeprefix(_SQLITE)).exists()


async def known_profiles(config: Config) -> tuple[Known, ...]:
    """Return all profiles, by name: the file's, the manager's, and removed ones that still have mail under way."""
    rows: Sequence[StoredProfile] = ()
    if has_ledger(config):
        async with reading(config) as reader:
            rows = await read_profiles(reader)
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


async def require_new(config: Config, name: str) -> None:
    """Raise UsageError where a profile of this name is there already."""
    require_other_name(config, name)
    if any(one.profile.name == name and one.managed_by in LASTING for one in await known_profiles(config)):
        raise UsageError(f'there is a profile "{name}" already: `pps profile edit {name}`, or another name')


def require_other_name(config: Config, name: str) -> None:
    """Raise UsageError where the file has a profile of this name, perhaps not in the ledger yet."""
    if any(one.name == name for one in config.profiles):
        raise UsageError(f'{config.path}: there is a [[profile]] "{name}" in the file: take another name')


async def own(config: Config, name: str, *, mend: str) -> Known:
    """Return a profile of the manager; raises UsageError with the mend for one that the file has."""
    found = named(await known_profiles(config), name, config)
    if any(one.name == name for one in config.profiles):
        raise UsageError(f'{config.path}: profile "{name}" is the file\'s: {mend} there, then `pps profile sync`')
    return found


async def moved_in_file(config: Config) -> tuple[str, ...]:
    """Return the file's profiles whose server or user is another than the ledger's."""
    found = await known_profiles(config)
    return tuple(
        one.profile.name
        for one in found
        if one.stored is not None and one.stored.profile.mailbox != one.profile.mailbox and one.managed_by in LASTING
    )
