"""Checks of the profiles: each server lets us in; of catch-alls, what a sample of headers tells. No mail is touched."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from common.config import Config
from common.failures import PollError, PollResult, PpsError
from common.profile import Profile
from fetcher.connection import Connection
from manager.doctor.check import Check, ok, problem, warning
from manager.envelope_advice import SAMPLE, judged
from manager.profiles import Known
from manager.remote_headers import newest_headers
from manager.sign_in import secret_of, signed_in

SESSIONS: Final = 8
"""Mailboxes that are signed in to at a time: no more than one host is asked to bear by a fetcher."""

SECONDS: Final = 60.0
"""How long one server may take; each step has its own, shorter deadline."""

_BUSY: Final = frozenset({PollResult.IN_USE, PollResult.THROTTLED})


async def profile_checks(profiles: Iterable[Known], config: Config) -> list[Check]:
    """Sign in to each enabled mailbox, a few at a time."""
    places = asyncio.Semaphore(SESSIONS)

    async def checked(known: Known) -> list[Check]:
        async with places:
            return await profile_check(known, config)

    found = await asyncio.gather(*(checked(known) for known in profiles if known.profile.enabled))
    return [check for checks in found for check in checks]


async def profile_check(known: Known, config: Config) -> list[Check]:
    """Find the password or token, connect, encrypt and sign in; of a catch-all, read some headers by TOP."""
    profile = known.profile
    area = f"profile {profile.name}"
    if profile.target not in config.targets:
        return [problem(area, f"there is no [target.{profile.target}] in {config.path}: add it, or name another")]
    try:
        async with asyncio.timeout(SECONDS):
            secret = await secret_of(config, profile, known)
            async with signed_in(config, profile, secret) as connection:
                headers = await _sample(connection) if profile.distribute else []
    except PollError as error:
        return [(warning if error.result in _BUSY else problem)(area, str(error))]
    except PpsError as error:
        return [problem(area, str(error))]
    except TimeoutError:
        return [problem(area, f"{profile.server}: no answer within {SECONDS:.0f} s: check server and firewall")]
    return [
        ok(area, f"{profile.server} lets {profile.user} in"),
        *_of_fields(area, profile, headers),
    ]


async def _sample(connection: Connection) -> list[bytes]:
    """Return the headers of the newest mails; none where the server can't tell them without the mail."""
    if not connection.capabilities.top:
        return []
    return [mail.header for mail in await newest_headers(connection, SAMPLE) if not mail.cut]


def _of_fields(area: str, profile: Profile, headers: Sequence[bytes]) -> list[Check]:
    """Warn of a field that is believed and should not be, and tell of one that would be more exact than To and Cc."""
    advice = judged(profile, headers)
    hint = [ok(area, advice.hint)] if advice.hint else []
    return [*(warning(area, mend) for mend in advice.mends), *hint]
