"""The failure policy, one row a case: result and scope of every kind of reply and failure."""

import errno

import pytest

from common.failures import Scope, names_no_user
from common.messages import Result, Stage
from deliverer.replies import attempt_of, broken, reply_of, unwritten

DELIVERED, DEFERRED, REFUSED, AMBIGUOUS = Result.DELIVERED, Result.DEFERRED, Result.REFUSED, Result.AMBIGUOUS
SERVER, MAIL, RECIPIENT = Scope.SERVER, Scope.MAIL, Scope.RECIPIENT


@pytest.mark.parametrize(
    ("code", "text", "stage", "result", "scope"),
    [
        (250, "2.0.0 Saved", Stage.DOT, DELIVERED, MAIL),
        (450, "4.2.0 later", Stage.RCPT, DEFERRED, RECIPIENT),
        (451, "later", Stage.DOT, DEFERRED, MAIL),
        (452, "4.2.2 full", Stage.RCPT, DEFERRED, RECIPIENT),
        (552, "5.2.2 full", Stage.RCPT, DEFERRED, RECIPIENT),
        (552, "5.2.2 full", Stage.DOT, DEFERRED, RECIPIENT),
        (552, "5.2.3 too large for this mailbox", Stage.DOT, DEFERRED, RECIPIENT),
        (552, "full, or too large", Stage.DOT, DEFERRED, RECIPIENT),
        (552, "too large", Stage.MAIL, REFUSED, MAIL),
        (552, "5.3.4 too large", Stage.DOT, REFUSED, MAIL),
        (550, "5.1.1 no such user", Stage.RCPT, REFUSED, RECIPIENT),
        (550, "no such user", Stage.RCPT, REFUSED, RECIPIENT),
        (550, "5.7.1 spam", Stage.RCPT, REFUSED, RECIPIENT),
        (554, "5.6.0 bad mail", Stage.DOT, REFUSED, MAIL),
        (553, "bad sender", Stage.MAIL, REFUSED, MAIL),
        (421, "4.3.2 shutting down", Stage.MAIL, DEFERRED, MAIL),
        (421, "shutting down", Stage.DOT, DEFERRED, MAIL),
        (220, "what?", Stage.DATA, DEFERRED, MAIL),
        (354, "what?", Stage.DOT, AMBIGUOUS, MAIL),
        (0, "not a reply", Stage.DOT, AMBIGUOUS, MAIL),
        (0, "not a reply", Stage.RCPT, DEFERRED, RECIPIENT),
        (530, "5.7.0 authenticate first", Stage.MAIL, DEFERRED, SERVER),
        (530, "5.7.0 authenticate first", Stage.DOT, DEFERRED, MAIL),
        (535, "5.7.8 wrong password", Stage.CONNECT, DEFERRED, SERVER),
        (554, "no service", Stage.CONNECT, DEFERRED, SERVER),
        (421, "too many", Stage.CONNECT, DEFERRED, SERVER),
        (550, "go away", Stage.CONNECT, DEFERRED, SERVER),
    ],
)
def test_reply_means(code: int, text: str, stage: Stage, result: Result, scope: Scope) -> None:
    """Doubt is temporary; a refusal is of the mail or the recipient; what happens at connecting is the server's."""
    attempt = attempt_of(reply_of(code, text), stage)

    assert (attempt.result, attempt.scope) == (result, scope)
    assert attempt.stage is stage


@pytest.mark.parametrize(
    ("stage", "result", "scope"),
    [
        (Stage.CONNECT, DEFERRED, SERVER),
        (Stage.MAIL, DEFERRED, MAIL),
        (Stage.DATA, DEFERRED, MAIL),
        (Stage.DOT, AMBIGUOUS, MAIL),
    ],
)
def test_lost_connection_means(stage: Stage, result: Result, scope: Scope) -> None:
    """Only a connection lost after the final dot leaves doubt whether the mail was delivered."""
    attempt = broken(stage, "connection lost")

    assert (attempt.result, attempt.scope, attempt.lost) == (result, scope, True)


@pytest.mark.parametrize(
    ("number", "usable", "scope", "enhanced"),
    [
        (errno.ENOSPC, True, SERVER, ""),
        (errno.EDQUOT, True, RECIPIENT, "4.2.2"),
        (errno.EACCES, True, RECIPIENT, ""),
        (errno.EACCES, False, SERVER, ""),
        (errno.ENOENT, True, RECIPIENT, ""),
        (errno.EROFS, False, SERVER, ""),
    ],
)
def test_failed_write_means(number: int, usable: bool, scope: Scope, enhanced: str) -> None:  # noqa: FBT001 (a case)
    """A write that failed is tried again; whether others wait depends on whose failure it is."""
    attempt = unwritten(OSError(number, "no"), "no", base_usable=usable)

    assert (attempt.result, attempt.scope, attempt.enhanced) == (DEFERRED, scope, enhanced)


@pytest.mark.parametrize("code", [-1, 0, 7, 99, 199, 600, 1000])
def test_code_that_is_none_is_invalid(code: int) -> None:
    """A broken server's number never becomes an outcome's code."""
    assert reply_of(code, "x").code == 0


def test_reply_is_kept_in_the_servers_words_on_one_line() -> None:
    """Several lines, control characters and broken UTF-8 become one printable line, cut to size."""
    attempt = attempt_of(reply_of(550, "5.1.1 no\nsuch\x00 user \udcff" + "x" * 1000), Stage.RCPT)

    assert attempt.reply.startswith("550 5.1.1 no such? user ?x")
    assert attempt.reply.isprintable()
    assert len(attempt.reply) <= 512
    assert (attempt.code, attempt.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("reply", "stage", "unknown"),
    [
        ((550, "5.1.1 x"), Stage.RCPT, True),
        ((550, "5.2.1 x"), Stage.RCPT, True),
        ((550, "x"), Stage.RCPT, True),
        ((551, "x"), Stage.RCPT, True),
        ((550, "5.7.1 x"), Stage.RCPT, False),
        ((554, "x"), Stage.RCPT, False),
        ((550, "5.1.1 x"), Stage.DOT, False),
    ],
)
def test_no_such_user_is_recognised_at_rcpt_only(reply: tuple[int, str], stage: Stage, unknown: bool) -> None:  # noqa: FBT001 (a case)
    """The ledger redirects by code, enhanced code and stage: the attempt must carry all three."""
    attempt = attempt_of(reply_of(*reply), stage)

    assert names_no_user(attempt.code, attempt.enhanced, attempt.stage) is unknown
