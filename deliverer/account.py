"""A target's account, of its settings: the secret is a reference, looked up when it is needed."""

from functools import partial
from pathlib import Path

from common.failures import PpsError
from common.secrets import resolve
from common.target_settings import TargetSettings
from deliverer.sign_in import Account


async def account_of(name: str, settings: TargetSettings, base: Path) -> Account | None:
    """Return as whom to sign in; raises PpsError, for a secret that isn't there at the start is a mistake."""
    if settings.user is None or settings.password is None:
        return None
    secret = partial(_secret, settings.password, base)
    try:
        await secret()
    except PpsError as error:
        raise type(error)(f"[target.{name}] password: {error}") from error
    return Account(user=settings.user, reference=settings.password, secret=secret, auth=settings.auth)


async def _secret(reference: str, base: Path) -> str:
    return (await resolve(reference, base=base)).reveal()
