"""Signing in at a target: which mechanism, and what is said where it isn't offered. The exchanges are aiosmtplib's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import aiosmtplib

from common.target_auth import TargetAuth

Secret = Callable[[], Awaitable[str]]
"""Returns the password, or the access token, as it is now; raises PpsError."""

AUTOMATIC: Final = (TargetAuth.CRAM_MD5, TargetAuth.PLAIN, TargetAuth.LOGIN)
"""In this order, of those offered. Never XOAUTH2, whose secret is a token: a password must not be sent in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """As whom to sign in. The secret is asked for at each connection: a token lives for an hour, a password changes."""

    user: str
    reference: str  # where the secret is found: what tells one account's settings from another's
    secret: Secret = field(repr=False, compare=False)
    auth: TargetAuth = TargetAuth.AUTO


async def sign_in(client: aiosmtplib.SMTP, account: Account) -> None:
    """Sign in; raises aiosmtplib's exceptions, and PpsError from the secret."""
    offered = [name.upper() for name in client.server_auth_methods]
    wanted = AUTOMATIC if account.auth is TargetAuth.AUTO else (account.auth,)
    chosen = next((one for one in wanted if one.upper() in offered), None)
    if chosen is None:
        said = f"it offers {', '.join(offered)}" if offered else "it offers no sign-in that is known here"
        raise aiosmtplib.SMTPException(
            f"the target can't be signed in at by {_names(wanted)}: {said}: check user, auth"
        )
    exchanges = {
        TargetAuth.CRAM_MD5: client.auth_crammd5,
        TargetAuth.PLAIN: client.auth_plain,
        TargetAuth.LOGIN: client.auth_login,
        TargetAuth.XOAUTH2: client.auth_xoauth2,
    }
    await exchanges[chosen](account.user, await account.secret())


def _names(mechanisms: tuple[TargetAuth, ...]) -> str:
    return " or ".join(one.upper() for one in mechanisms)
