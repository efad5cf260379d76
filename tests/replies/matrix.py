"""Delivers one mail for each answer at each stage, and tells what became of it as a table in Markdown."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.failures import Scope, names_no_user
from common.messages import Result
from common.profile import Tls
from deliverer.attempt import Attempt
from deliverer.sign_in import Account
from deliverer.target import TargetOptions
from deliverer.transaction import Deadlines
from tests.deliveries import deliver, job_of, target_of
from tests.servers.certificates import Certificates, issue
from tests.servers.smtp import CONTENT, DOT, GREETING, Act, Answer, SmtpServer

STAGES: Final = (GREETING, "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", CONTENT, DOT, "QUIT")

CODES: Final = (
    "211", "220", "221", "235", "250", "251", "252", "334", "354", "421", "450", "450 4.2.0", "451", "452", "452 4.2.2",
    "454", "455", "500", "501", "502", "503", "504", "521", "530", "534", "535", "538", "550", "550 5.1.1", "550 5.1.6",
    "550 5.2.1", "550 5.2.2", "550 5.7.1", "551", "552", "552 5.2.2", "552 5.2.3", "552 5.3.4", "553", "553 5.1.8",
    "554", "554 5.6.0", "555", "556",
)  # fmt: skip
"""Every reply code of RFC 5321 and its extensions, with the enhanced codes that make a difference."""

WORDS: Final[dict[str, Answer]] = {
    "no SMTP": "what?",
    "hangs up": Act.CUT,
    "says nothing": Act.HANG,
    "one octet a second": Act.DRIP,
}

SHORT: Final = Deadlines(connect=2.0, reply=2.0, dot=2.0)
"""Where silence is what is tested: long enough for a loaded machine to say all else."""

AT_A_TIME: Final = 24

HEAD: Final = """\
# What follows from each answer

Found out, not written: one mail was delivered for each answer at each stage to a server that follows a script
(`python -m tests.replies` writes this page anew; a test compares). "Says nothing" lasts beyond the deadline.

- **delivered**: the target has it
- **tried again**: this mail, or this recipient's, later; others aren't held up
- **fallback**: no such user: the fallback user gets it
- **refused**: quarantine, or the folder for bad mail
- **paused**: the target is probed until it is back; its mail waits, and no attempt is counted
- **in doubt**: it may have been delivered: tried again, three times at most
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One answer at one stage."""

    lmtp: bool
    stage: str
    name: str
    answer: Answer


def cases(*, lmtp: bool) -> list[Case]:
    """Return every case of one protocol."""
    answers: dict[str, Answer] = {**{code: f"{code} as scripted" for code in CODES}, **WORDS}
    stages = ["LHLO" if lmtp and stage == "EHLO" else stage for stage in STAGES]
    return [
        Case(lmtp=lmtp, stage=stage, name=name, answer=answer)
        for stage in stages
        for name, answer in answers.items()
        if stage != CONTENT or isinstance(answer, Act)  # amid the content nobody listens for a reply
    ]


def consequence(attempt: Attempt) -> str:
    """Return what follows, in the words of the page."""
    whose = "this recipient" if attempt.scope is Scope.RECIPIENT else "this mail"
    if attempt.is_outage:
        return "paused"
    if attempt.result is Result.REFUSED and names_no_user(attempt.code, attempt.enhanced, attempt.stage):
        return "fallback"
    return {
        Result.DELIVERED: "delivered",
        Result.DEFERRED: f"tried again, {whose}",
        Result.REFUSED: f"refused, {whose}",
        Result.AMBIGUOUS: "in doubt",
    }[attempt.result]


async def page() -> str:
    """Return the page."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        certificates = issue(Path(folder))
        for lmtp in (False, True):
            found = await _all(cases(lmtp=lmtp), certificates)
            parts.append(f"## {'LMTP' if lmtp else 'SMTP'}\n\n{_table(found)}")
    return "\n".join(parts)


async def _all(wanted: list[Case], certificates: Certificates) -> dict[Case, str]:
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(case: Case) -> str:
        async with places:
            return await _one(case, certificates)

    return dict(zip(wanted, await asyncio.gather(*(one(case) for case in wanted)), strict=True))


async def _one(case: Case, certificates: Certificates) -> str:
    async with _server(case, certificates) as server:
        server.replies(case.stage, case.answer)
        options = TargetOptions(
            url=server.url.replace(server.host, "localhost"),
            tls=Tls.STARTTLS if case.stage == "STARTTLS" else Tls.NONE,
            ca=str(certificates.ca),
            account=Account(user="pps", reference="", secret=_secret) if case.stage == "AUTH" else None,
        )
        target = target_of(options, SHORT if isinstance(case.answer, Act) else None)
        try:
            return consequence(await deliver(target, job_of()))
        finally:
            await target.close()


async def _secret() -> str:
    return "secret"


@asynccontextmanager
async def _server(case: Case, certificates: Certificates) -> AsyncIterator[SmtpServer]:
    context = None
    if case.stage == "STARTTLS":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.chain, certificates.key)
    offered = ("SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "AUTH PLAIN")
    async with SmtpServer(lmtp=case.lmtp, extensions=offered, context=context) as server:
        yield server


def _table(found: dict[Case, str]) -> str:
    grouped: dict[tuple[str, str], list[str]] = {}
    for case, what in found.items():
        grouped.setdefault((case.stage, what), []).append(case.name)
    rows = [f"| {stage} | {what} | {', '.join(names)} |" for (stage, what), names in grouped.items()]
    return "\n".join(["| stage | what follows | answers |", "| --- | --- | --- |", *rows]) + "\n"
