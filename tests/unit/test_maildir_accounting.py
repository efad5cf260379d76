"""The accounting that every test of faults ends with: it must see each kind of loss."""

from pathlib import Path

import pytest

from tests.maildir import account, canonical, messages, without_trace

TRACE = b"Received: from pop.example\n\tby here id 1\n (folded)\n"


def deliver(folder: Path, name: str, raw: bytes) -> None:
    """Put a file into a Maildir, as it is stored."""
    (folder / "new").mkdir(parents=True, exist_ok=True)
    (folder / "new" / name).write_bytes(raw)


def test_exactly_what_was_planted_is_exact(tmp_path: Path) -> None:
    """The trace field, CRLF and the missing end of the last line make no difference; nothing else is forgiven."""
    deliver(tmp_path / "local.example" / "ann", "1", TRACE + b"Subject: a\n\nend\n")
    planted = {"ann@local.example": [b"Subject: a\r\n\r\nend"]}
    assert account(planted, tmp_path, "{domain}/{user}").exact


def test_loss_doubling_and_foreign_mail_are_told_apart(tmp_path: Path) -> None:
    """One of each kind, each with its user."""
    deliver(tmp_path / "ann", "1", TRACE + b"A: twice\n\n")
    deliver(tmp_path / "ann", "2", TRACE + b"A: twice\n\n")
    deliver(tmp_path / "bob", "1", TRACE + b"A: not his\n\n")
    result = account({"ann": [b"A: twice\n\n"], "bob": [b"A: lost\n\n"]}, tmp_path)
    assert result.doubled == [("ann", b"A: twice\n\n")]
    assert result.lost == [("bob", b"A: lost\n\n")]
    assert result.foreign == [("bob", b"A: not his\n\n")]
    assert not result.exact
    assert "1 lost" in str(result)


def test_two_equal_planted_mails_want_two_copies(tmp_path: Path) -> None:
    """Mails are counted, not only looked for."""
    deliver(tmp_path / "ann", "1", b"A: same\n\n")
    assert account({"ann": [b"A: same\n\n"] * 2}, tmp_path).lost == [("ann", b"A: same\n\n")]


def test_one_changed_octet_is_a_loss(tmp_path: Path) -> None:
    """A mail that arrives changed has not arrived."""
    deliver(tmp_path / "ann", "1", TRACE + b"A: b\n\ntrailing blank\n")
    result = account({"ann": [b"A: b\n\ntrailing blank \n"]}, tmp_path)
    assert result.lost
    assert result.foreign


@pytest.mark.parametrize(
    ("stored", "rest"),
    [
        (TRACE + b"Subject: a\n\nb\n", b"Subject: a\n\nb\n"),
        (b"Return-Path: <>\n" + TRACE + b"Return-Path: <a@b.example>\n\n", b"Return-Path: <a@b.example>\n\n"),
        (TRACE + b"Received: from theirs\n\n", b"Received: from theirs\n\n"),
        (b"Return-Path: <>\nSubject: a\n\n", b"Return-Path: <>\nSubject: a\n\n"),
        (TRACE + b"\nno header\n", b"\nno header\n"),
        (b"received: crlf\r\n\tfolded\r\nA: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"", b""),
        (b"Received: endless", b""),
    ],
)
def test_only_the_first_received_field_is_ours(stored: bytes, rest: bytes) -> None:
    """Fields below it are the mail's own, even those of the same name."""
    assert without_trace(stored) == rest


def test_a_maildir_is_new_and_cur_in_the_order_of_names(tmp_path: Path) -> None:
    """What is still in tmp has not arrived; a Maildir that isn't there holds nothing."""
    deliver(tmp_path, "2", b"second")
    for part in ("cur", "tmp"):
        (tmp_path / part).mkdir()
    (tmp_path / "cur" / "1:2,S").write_bytes(b"first")
    (tmp_path / "tmp" / "3").write_bytes(b"unfinished")
    assert messages(tmp_path) == [b"first", b"second"]
    assert messages(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("raw", "form"),
    [(b"a\r\nb", b"a\nb\n"), (b"a\nb\n", b"a\nb\n"), (b"", b"\n"), (b"a\r\r\nb\rc\r\n", b"a\r\nb\rc\n")],
)
def test_the_canonical_form_changes_line_ends_only(raw: bytes, form: bytes) -> None:
    """CRLF as LF, once, and an end to the last line."""
    assert canonical(raw) == form
