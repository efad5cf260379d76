"""Target URLs: read strictly, complained of helpfully, and never repeated where they might hold a secret."""

import pytest

from common.profile import Tls
from common.target_url import Transport, encryption, parse_target


@pytest.mark.parametrize(
    ("url", "transport", "host", "port", "path", "create"),
    [
        ("lmtp://127.0.0.1:2424", Transport.LMTP, "127.0.0.1", 2424, "", False),
        ("lmtp://mail.example.com", Transport.LMTP, "mail.example.com", 24, "", False),
        ("smtp://[::1]", Transport.SMTP, "::1", 25, "", False),
        ("SMTPS://mail.example.com/", Transport.SMTPS, "mail.example.com", 465, "", False),
        ("lmtp+unix:/run/lmtp", Transport.LMTP_UNIX, "", 0, "/run/lmtp", False),
        ("lmtp+unix:///run/lmtp", Transport.LMTP_UNIX, "", 0, "/run/lmtp", False),
        ("maildir:/m/{domain}/{user}?create=yes", Transport.MAILDIR, "", 0, "/m/{domain}/{user}", True),
        ("maildir:/m/{user}", Transport.MAILDIR, "", 0, "/m/{user}", False),
    ],
)
def test_url_is_read(url: str, transport: Transport, host: str, port: int, path: str, create: bool) -> None:  # noqa: FBT001, PLR0917 (a case)
    """Each kind gives its place, with the port that the field uses; its text reads back as the same."""
    target = parse_target(url)

    assert (target.transport, target.host, target.port, target.path, target.create) == (
        transport,
        host,
        port,
        path,
        create,
    )
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("lmpt://127.0.0.1", "did you mean 'lmtp'"),
        ("maildr:/m", "did you mean 'maildir'"),
        ("stmp://x", "did you mean 'smtp'"),
        ("127.0.0.1", "begins with smtp:"),
        ("smtp:mail.example.com", "write smtp://HOST"),
        ("smtp://", "write smtp://HOST"),
        ("smtp://host:99999", "write smtp://HOST"),
        ("smtp://host/path", "write smtp://HOST"),
        ("smtp://me:canary@host", "have their own keys"),
        ("maildir:", "write maildir:/PATH"),
        ("maildir:/m/{usr}", "did you mean {user}"),
        ("maildir:/m/{user", "stray brace"),
        ("maildir:/m/../{user}", "stray brace"),
        ("maildir:/m?create=maybe", "create=yes"),
        ("maildir:/m?", "create=yes"),
    ],
)
def test_wrong_url_is_complained_of_with_its_mend(url: str, complaint: str) -> None:
    """One line says what to write; a password is never repeated."""
    with pytest.raises(ValueError, match=r"\w") as error:
        parse_target(url)

    assert complaint in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "tls", "meaning"),
    [
        ("smtp://127.0.0.1", Tls.AUTO, Tls.NONE),
        ("lmtp://localhost", Tls.AUTO, Tls.NONE),
        ("smtp://mail.example.com", Tls.AUTO, Tls.STARTTLS),
        ("lmtp://10.0.0.1", Tls.AUTO, Tls.STARTTLS),
        ("lmtp://10.0.0.1", Tls.NONE, Tls.NONE),
        ("smtp://127.0.0.1", Tls.STARTTLS, Tls.STARTTLS),
        ("smtps://mail.example.com", Tls.AUTO, Tls.IMPLICIT),
        ("maildir:/m", Tls.AUTO, Tls.NONE),
    ],
)
def test_cleartext_leaves_the_machine_only_on_the_administrators_word(url: str, tls: Tls, meaning: Tls) -> None:
    """Loopback is exempt; everything else is encrypted unless tls = "none" says so."""
    assert encryption(parse_target(url), tls) is meaning


@pytest.mark.parametrize(
    ("url", "tls"), [("smtps://x", Tls.NONE), ("smtps://x", Tls.STARTTLS), ("maildir:/m", Tls.STARTTLS)]
)
def test_contradiction_of_url_and_tls_is_an_error(url: str, tls: Tls) -> None:
    """Neither silently wins."""
    with pytest.raises(ValueError, match=str(tls)):
        encryption(parse_target(url), tls)
