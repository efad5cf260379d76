"""Whether mail may come back to where it was fetched: told by names alone."""

import pytest

from common.target_settings import TargetSettings
from manager.doctor.loops import loop_checks
from tests.ledger import profile


@pytest.mark.parametrize(
    ("server", "url", "warned"),
    [
        ("mail.example.com 995s", "smtp://MAIL.example.com", True),
        ("mail.example.com 995s", "lmtp://127.0.0.1:24", False),
        ("127.0.0.1 110", "lmtp://localhost:24", True),
        ("127.0.0.1 110", "maildir:/var/mail/{user}", True),
        ("mail.example.com 110", "lmtp+unix:/run/lmtp", False),
    ],
)
def test_a_target_on_the_host_that_is_fetched_from_is_warned_of(server: str, url: str, warned: bool) -> None:  # noqa: FBT001 (a row of the table)
    """One word for each profile, and none for a disabled one."""
    found = list(loop_checks([profile(server=server)], {"local": TargetSettings(url=url)}))
    disabled = list(loop_checks([profile(server=server, enabled=False)], {"local": TargetSettings(url=url)}))

    assert (bool(found), disabled) == (warned, [])
