"""What the doctor says of a profile's envelope fields, by a sample of its mail."""

from pathlib import Path

import pytest

from common.profile import Profile
from manager.doctor.check import Grade
from manager.doctor.mailboxes import profile_checks
from manager.envelope_advice import judged
from manager.profiles import known_profiles
from tests.integration.service import catch_all, install
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox

HOP = "Received: from a.example by store.isp.example with LMTP id 1; Mon, 5 Jan 2026 10:00:00 +0000\r\n"


CONSTANT = "envelope: Delivered-To is on all mail, and always box@local.example: it names the mailbox: don't believe it"


def profile(**keys: object) -> Profile:
    """Return a catch-all."""
    base = {"name": "a", "server": "h 110", "user": "u", "password": "env:X", "local_user": "boss", "distribute": True}
    return Profile.from_document({**base, "local_domain": ["local.example"], **keys})


def sample(field: str = "X-Original-To: u{n}@local.example\r\n", mails: int = 10) -> list[bytes]:
    """Return headers with a hop of the provider above a field."""
    return [(HOP + field.format(n=n)).encode() for n in range(mails)]


def test_a_field_that_would_be_exact_is_hinted_at() -> None:
    """Only where the profile believes none yet."""
    keys = 'envelope = ["X-Original-To"], envelope_hops = 1'

    assert judged(profile(), sample()).hint.endswith(f": set {keys}")
    assert judged(profile(envelope=["X-Original-To"], envelope_hops=1), sample()).hint == ""


@pytest.mark.parametrize(
    ("keys", "field", "mend"),
    [
        (
            {"envelope": ["X-Original-To"]},
            "X-Original-To: u{n}@local.example\r\n",
            "envelope_hops: X-Original-To stands under up to 1 Received: set envelope_hops = 1",
        ),
        (
            {"envelope": ["Delivered-To"], "envelope_hops": 1},
            "Delivered-To: box@local.example\r\n",
            CONSTANT,
        ),
        (
            {"envelope": ["Delivered-To:2"], "envelope_hops": 1},
            "Delivered-To: u{n}@local.example\r\n",
            "envelope: Delivered-To:2 is on none of 10 mails: leave it out",
        ),
        ({"envelope": ["X-Original-To"], "envelope_hops": 1}, "X-Original-To: u{n}@local.example\r\n", ""),
    ],
)
def test_a_setting_that_misplaces_mail_is_told(keys: dict[str, object], field: str, mend: str) -> None:
    """With the key and the mend."""
    assert judged(profile(**keys), sample(field)).mends == ((mend,) if mend else ())


def test_too_few_mails_say_nothing() -> None:
    """Neither for a field nor against it."""
    found = judged(profile(envelope=["Delivered-To"]), sample(mails=4))

    assert (found.mails, found.mends, found.hint) == (4, (), "")


async def test_the_sample_is_read_from_the_server(mailbox: Mailbox, tmp_path: Path) -> None:
    """With TOP: nothing is retrieved or deleted."""
    mailbox.plant(*(mail(extra=f"X-Original-To: u{n}@local.example\r\n") for n in range(6)))
    there = install(tmp_path, catch_all(mailbox))

    checks = await profile_checks(await known_profiles(there.config), there.config)

    assert [check.grade for check in checks] == [Grade.OK, Grade.OK]
    assert checks[1].says.endswith('set envelope = ["X-Original-To"]')
    assert len(mailbox.remaining()) == 6
