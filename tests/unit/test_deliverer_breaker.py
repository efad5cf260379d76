"""When a target counts as out of service."""

from common.failures import Scope
from common.messages import Result, Stage
from deliverer.attempt import Attempt
from deliverer.breaker import Breaker
from deliverer.replies import attempt_of, broken, reply_of

LOST = broken(Stage.DATA, "connection lost")
OUTAGE = broken(Stage.CONNECT, "connection refused")
SAVED = attempt_of(reply_of(250, "Saved"), Stage.DOT)
UNKNOWN = Attempt(result=Result.REFUSED, stage=Stage.RCPT, scope=Scope.RECIPIENT, reply="550 no", code=550)


def tripped(*seen: tuple[str, Attempt]) -> bool:
    """Return whether a breaker is tripped after these attempts."""
    breaker = Breaker()
    for mail_id, attempt in seen:
        breaker.saw(mail_id, attempt)
    return breaker.tripped.is_set()


def test_one_outage_is_enough() -> None:
    """A target that can't be reached is out of service at once."""
    assert tripped(("a", OUTAGE))


def test_three_different_mails_that_lost_the_connection_mean_the_server() -> None:
    """In a row; an attempt that got an answer begins the count again."""
    assert tripped(("a", LOST), ("b", LOST), ("c", LOST))
    assert not tripped(("a", LOST), ("b", LOST), ("d", SAVED), ("c", LOST))
    assert not tripped(("a", LOST), ("b", LOST), ("d", UNKNOWN), ("c", LOST))


def test_one_mail_that_always_loses_the_connection_does_not_stop_the_others() -> None:
    """A mail that crashes its server is that mail's matter."""
    assert not tripped(*[("a", LOST)] * 10)


def test_waits_grow_until_an_attempt_goes_well() -> None:
    """A good probe alone doesn't make a target trusted: it may break at the next mail again."""
    breaker = Breaker()
    breaker.saw("a", OUTAGE)
    breaker.probe_failed(OUTAGE)
    breaker.reset()
    breaker.saw("a", OUTAGE)

    assert breaker.failures == 3
    breaker.reset()
    breaker.saw("a", SAVED)
    assert breaker.failures == 0
