"""SASL mechanisms: the RFCs' own examples, refusals of wrong challenges, and which mechanism is chosen."""

import base64
from typing import Final

import pytest
import scramp

from common.profile import Auth
from fetcher.sasl import Mechanism, SaslError, _Scram, apop_digest, chosen, mechanism, reason

SCRAM_SHA_1: Final = (
    "SCRAM-SHA-1",
    "fyko+d2lbbFgONRv9qkxdawL",
    "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
"""RFC 5802, section 5."""

SCRAM_SHA_256: Final = (
    "SCRAM-SHA-256",
    "rOprNGfwEbeRWgbNEkqO",
    "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
"""RFC 7677, section 3."""

Exchange = tuple[str, str, str, str, str, str]


@pytest.mark.parametrize("exchange", [SCRAM_SHA_1, SCRAM_SHA_256], ids=lambda exchange: exchange[0])
def test_scram_speaks_as_the_rfcs_examples(exchange: Exchange) -> None:
    """User "user", password "pencil": each message octet for octet, and the server's signature is believed."""
    name, nonce, first, challenge, final, verifier = exchange
    scram = _Scram(name, "user", "pencil", nonce=nonce)
    assert scram.first() == first.encode()
    assert scram.answer(challenge.encode()) == final.encode()
    assert scram.answer(verifier.encode()) == b""
    scram.check_end()


@pytest.mark.parametrize(
    "verifier",
    ["v=smF9pqV8S7suAoZWja4dJRkFsKQ=", "v=", "e=invalid-proof", "", "v=rmF9", "rmF9pqV8S7suAoZWja4dJRkFsKQ="],
)
def test_scram_believes_no_other_signature(verifier: str) -> None:
    """A server that doesn't know the password can't make the signature; a refusal in its place is none either."""
    name, nonce, _first, challenge, _final, _verifier = SCRAM_SHA_1
    scram = _Scram(name, "user", "pencil", nonce=nonce)
    scram.first()
    scram.answer(challenge.encode())
    with pytest.raises(SaslError):
        scram.answer(verifier.encode())
    with pytest.raises(SaslError):
        scram.check_end()


@pytest.mark.parametrize(
    "challenge",
    [
        b"r=another,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=1",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=999999999",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=!,i=4096",
        b"\xff\xfe,i=4096",
        b"",
        b"{}",
    ],
)
def test_scram_refuses_a_wrong_challenge(challenge: bytes) -> None:
    """Anything but our nonce carried on, a salt and a fair number of rounds ends the exchange."""
    scram = _Scram("SCRAM-SHA-1", "user", "pencil", nonce="fyko+d2lbbFgONRv9qkxdawL")
    scram.first()
    with pytest.raises(SaslError):
        scram.answer(challenge)


def test_scram_signs_in_where_name_and_password_are_odd() -> None:
    """Commas, equals signs and letters beyond ASCII: against another implementation of the server's side."""
    user, password = "ann=x,y", "pässwörd ½"
    server_side = scramp.ScramMechanism("SCRAM-SHA-256")
    server = server_side.make_server({user: server_side.make_auth_info(password)}.__getitem__)
    scram = mechanism(Auth.SCRAM_SHA_256, user, password)
    server.set_client_first((scram.first() or b"").decode())
    server.set_client_final(scram.answer(server.get_server_first().encode()).decode())
    assert scram.answer(server.get_server_final().encode()) == b""
    scram.check_end()


def test_cram_md5_answers_as_the_rfcs_example() -> None:
    """RFC 2195, section 2."""
    by = mechanism(Auth.CRAM_MD5, "tim", "tanstaaftanstaaf")
    assert by.first() is None
    assert by.answer(b"<1896.697170952@postoffice.reston.mci.net>") == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_apop_answers_as_the_rfcs_example() -> None:
    """RFC 1939, section 7."""
    greeting = "POP3 server ready <1896.697170952@dbc.mtview.ca.us>"
    assert apop_digest(greeting, "tanstaaf") == "c4c9334bac560ecc979e58001b3e22fb"


@pytest.mark.parametrize(
    "greeting",
    ["ready", "<1896@a> or <1897@b>", "<1896>", "<a b@c>", "<a@b\x80>", "<a@>", "<@b>", "<é@b>", "<a@b", "<a@b<c@d"],
)
def test_apop_takes_only_a_message_id_for_a_timestamp(greeting: str) -> None:
    """RFC 1939 says that it is one; others may have been chosen to guess the password (CVE-2007-1558)."""
    with pytest.raises(SaslError, match="timestamp"):
        apop_digest(greeting, "tanstaaf")


def test_bearer_tokens_are_sent_as_google_and_the_rfc_show() -> None:
    """Google's example of XOAUTH2, and the one in RFC 7628, section 4 (host and port, which are optional, left out)."""
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    xoauth2 = mechanism(Auth.XOAUTH2, "someuser@example.com", token)
    assert base64.b64encode(xoauth2.first() or b"") == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    bearer = mechanism(Auth.OAUTHBEARER, "us=er,x@example.com", token)
    assert bearer.first() == b"n,a=us=3Der=2Cx@example.com,\1auth=Bearer " + token.encode() + b"\1\1"


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        (b'{"status":"401","schemes":"bearer mac","scope":"x"}', "status 401, scope x"),
        (b'{"status":"invalid_token"}', "status invalid_token"),
        (b'{"error":"invalid_grant","error_description":"AADSTS70008:\\r\\nexpired"}', "error invalid_grant, "),
        (b"{}", "no reason given"),
        (b"[1]", "[1]"),
        (b"no JSON\xff", "no JSON"),
        (b"[" * 50_000, "[[["),
        (b"", ""),
    ],
)
def test_the_reason_in_a_challenge_is_shown(challenge: bytes, told: str) -> None:
    """JSON or not, what the server says fits one line."""
    said = reason(challenge)
    assert said.startswith(told)
    assert "\n" not in said
    assert len(said) <= 200


@pytest.mark.parametrize("auth", [auth for auth in Auth if auth not in {Auth.AUTO, Auth.PASSWORD, Auth.APOP}])
def test_a_mechanism_refuses_what_it_did_not_ask_for(auth: Auth) -> None:
    """However a server goes on, no mechanism answers for ever, and none shows its secret in a repr or an error."""
    by: Mechanism = mechanism(auth, "ann", "canary-secret")
    by.first()
    told = None
    for _ in range(4):
        try:
            by.answer(b"<1@b>")
        except SaslError as error:
            told = error
            break
    assert told is not None
    assert "canary" not in f"{told} {told!r} {by!r}"


def test_a_nul_is_refused_before_anything_is_sent() -> None:
    """In PLAIN it would end a field early."""
    with pytest.raises(SaslError, match="NUL"):
        mechanism(Auth.PLAIN, "ann", "a\0b")


ALL: Final = "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"


@pytest.mark.parametrize(
    ("offered", "has_user", "private", "bearer", "expected"),
    [
        (ALL, True, True, False, Auth.PASSWORD),
        (ALL, True, False, False, Auth.SCRAM_SHA_256),
        ("PLAIN CRAM-MD5 SCRAM-SHA-1", True, False, False, Auth.SCRAM_SHA_1),
        ("PLAIN CRAM-MD5", True, False, False, Auth.CRAM_MD5),
        ("PLAIN LOGIN", True, False, False, Auth.PASSWORD),
        ("LOGIN PLAIN", False, True, False, Auth.PLAIN),
        ("LOGIN", False, True, False, Auth.LOGIN),
        ("CRAM-MD5", False, True, False, Auth.CRAM_MD5),
        ("GSSAPI", False, True, False, Auth.PASSWORD),
        ("", True, True, False, Auth.PASSWORD),
        (ALL, True, True, True, Auth.OAUTHBEARER),
        ("PLAIN XOAUTH2", True, True, True, Auth.XOAUTH2),
        ("PLAIN", True, True, True, Auth.XOAUTH2),
    ],
)
def test_auto_takes_what_is_safe_and_likely_to_work(
    *, offered: str, has_user: bool, private: bool, bearer: bool, expected: Auth
) -> None:
    """Where others may listen, the strongest mechanism; elsewhere USER and PASS, which work for every account."""
    names = frozenset(offered.split())
    assert chosen(Auth.AUTO, names, has_user=has_user, private=private, bearer=bearer) is expected
    assert chosen(Auth.APOP, names, has_user=has_user, private=private, bearer=bearer) is Auth.APOP
