"""When the next poll is: politeness and patience, from how the last one ended."""

import pytest

from common.failures import PollResult
from fetcher.schedule import SOON_SECONDS, jittered, seconds_to_next_poll
from fetcher.session import SessionEnd

INTERVAL = 600


def wait(
    result: PollResult,
    *,
    interval: int = INTERVAL,
    failures: int = 0,
    auth_failures: int = 0,
    end: SessionEnd | None = None,
) -> float | None:
    """Return the seconds to the next poll of a profile with an interval of ten minutes."""
    return seconds_to_next_poll(result, interval=interval, failures=failures, auth_failures=auth_failures, end=end)


@pytest.mark.parametrize("result", [PollResult.OK, PollResult.EMPTY])
def test_a_good_poll_is_followed_after_the_interval(result: PollResult) -> None:
    """Unless there is something to do."""
    assert wait(result, end=SessionEnd()) == INTERVAL


@pytest.mark.parametrize("end", [SessionEnd(more=True), SessionEnd(unsettled=1)])
def test_a_mailbox_with_something_to_do_is_polled_soon(end: SessionEnd) -> None:
    """Within a minute; sooner only if the interval is shorter."""
    assert wait(PollResult.OK, end=end) == SOON_SECONDS
    assert wait(PollResult.OK, end=end, interval=10) == 10


def test_refused_sign_ins_are_tried_ever_more_rarely_then_never() -> None:
    """Accounts are locked by those who keep trying; after the fourth a person must act."""
    waits = [wait(PollResult.AUTH, failures=failed, auth_failures=failed) for failed in range(5)]
    assert waits == [900, 3600, 21_600, None, None]


def test_without_a_grant_nothing_is_tried_until_a_person_signs_in() -> None:
    """No server was asked, and none would be: neither the account nor the host is to blame."""
    assert wait(PollResult.GRANT) is None


@pytest.mark.parametrize("result", [PollResult.IN_USE, PollResult.THROTTLED])
def test_a_server_that_asks_for_patience_gets_it(result: PollResult) -> None:
    """The whole interval, however often."""
    assert [wait(result, failures=failed) for failed in (0, 1, 9)] == [INTERVAL] * 3


@pytest.mark.parametrize("result", [PollResult.NETWORK, PollResult.PROTOCOL, PollResult.TLS, PollResult.LOCAL])
def test_other_failures_are_tried_again_ever_later(result: PollResult) -> None:
    """Up to the interval, and never later than it."""
    assert [wait(result, failures=failed) for failed in range(6)] == [30, 60, 120, 300, INTERVAL, INTERVAL]
    assert [wait(result, failures=failed, interval=45) for failed in range(3)] == [30, 45, 45]


def test_polls_spread_out() -> None:
    """By a tenth either way, so that what began together doesn't stay together."""
    assert [jittered(600, spread) for spread in (-1, 0, 1)] == pytest.approx([540, 600, 660])
