"""The password of a profile: where its reference leads, or what was typed, sealed in the ledger."""

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.schema import profiles
from common.profile import Profile
from common.secrets import STORED, Secret, resolve, seal, unseal


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """Finds passwords when they are used, and keeps none."""

    ledger: Ledger
    key: str = field(repr=False)  # the reference of `[service] key`
    base: Path  # where relative paths of references begin

    async def of(self, profile_id: str, profile: Profile) -> Secret:
        """Return a profile's password; raises PpsError, one line that names the key or reference and the mend."""
        if profile.password is None:
            raise PpsError(f"{profile.name}: has no password: it signs in with tokens (oauth)")
        try:
            if profile.password != STORED:
                return await resolve(profile.password, base=self.base)
            return await self._stored(profile_id, profile.name)
        except PpsError as error:
            raise PpsError(f"password: {error}") from error

    async def _stored(self, profile_id: str, name: str) -> Secret:
        query = select(profiles.c.secret).where(profiles.c.id == profile_id)
        token: bytes | None = await self.ledger.read(lambda c: c.scalar(query))
        if token is None:
            raise PpsError(f"none is stored: `pps profile password {name}` asks for it")
        return unseal(token, await self.keys())

    async def sealed(self, secret: Secret) -> bytes:
        """Return a password as the ledger keeps it, under the newest key; raises PpsError."""
        return seal(secret, await self.keys())

    async def keys(self) -> Secret:
        """Return the keys that passwords are sealed with, the newest first; raises PpsError."""
        try:
            return await resolve(self.key, base=self.base)
        except PpsError as error:
            raise PpsError(f"[service] key: {error}: put the key back that `pps init` wrote") from error
