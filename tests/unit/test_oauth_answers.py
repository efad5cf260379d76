"""What OAuth 2 endpoints answer, the RFCs' examples and the odd ones; and the keys that name the endpoints."""

import json
from typing import Any

import pytest

from common.oauth_keys import OAuthProvider
from common.profile import Profile
from common.secrets import Secret
from fetcher.oauth_answers import (
    DEFAULT_INTERVAL,
    DEFAULT_LIFETIME,
    DeviceCode,
    Refusal,
    Tokens,
    masked,
    parse_device,
    parse_tokens,
)


def answer(**said: object) -> bytes:
    """Return a JSON object."""
    return json.dumps(said).encode()


def test_tokens_are_read_as_in_the_rfcs_example() -> None:
    """RFC 6749, section 5.1; what isn't asked for is passed over."""
    body = answer(
        access_token="2YotnFZFEjr1zCsicMWpAA",
        token_type="example-bearer"[8:],
        expires_in=3600,
        refresh_token="tGzv3JOkF0XG5Qx2TlKWIA",
        example_parameter="example_value",
    )
    assert parse_tokens(200, body) == Tokens(
        access=Secret("2YotnFZFEjr1zCsicMWpAA"), refresh=Secret("tGzv3JOkF0XG5Qx2TlKWIA"), expires_in=3600
    )


@pytest.mark.parametrize(
    ("said", "expires_in"),
    [
        (3599, 3599),
        ("3599", 3599),
        (3599.9, 3599),
        (0.2, 1),
        (-5, None),
        ("soon", None),
        (True, None),
        (10**30, 315_360_000),
    ],
)
def test_a_lifetime_is_a_number_of_seconds(said: object, expires_in: int | None) -> None:
    """Whatever else stands there, a token is believed for some minutes; nothing overflows the ledger's clock."""
    found = parse_tokens(200, answer(access_token="t", expires_in=said))
    assert isinstance(found, Tokens)
    assert found.expires_in == (expires_in or DEFAULT_LIFETIME)
    assert found.refresh is None


@pytest.mark.parametrize("token", ["a b", "a\r\nb", "a\x01b", "\x00", "é", "x" * 20_000, 5, ["x"], {"a": 1}])
def test_what_could_end_a_command_early_is_no_token(token: object) -> None:
    """A token goes into AUTH's line: only printable ASCII without blanks, and of some length."""
    found = parse_tokens(200, answer(access_token=token))
    assert isinstance(found, Refusal)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"error": 5}', b"{}"])
@pytest.mark.parametrize("status", [200, 400, 404])
def test_what_is_no_answer_is_a_refusal_without_a_code(body: bytes, status: int) -> None:
    """Neither parser raises, whatever a server or a captive portal writes."""
    for parse in (parse_tokens, parse_device):
        found = parse(status, body)
        assert found == Refusal(code="", text=f"it answers {status}, and nothing that OAuth 2 knows")


def test_a_refusal_is_one_line_without_what_was_sent() -> None:
    """Microsoft adds lines of trace ids; some servers repeat the token."""
    text = "AADSTS70008: The refresh token 0.canary has expired.\r\nTrace ID: 1234\r\nCorrelation ID: 5"
    found = parse_tokens(400, answer(error="invalid_grant", error_description=text))
    assert isinstance(found, Refusal)
    hidden = masked(found, {"refresh_token": "0.canary", "grant_type": "refresh_token"})
    assert hidden == Refusal(
        code="invalid_grant", text="invalid_grant: AADSTS70008: The refresh token *** has expired."
    )


def test_a_device_code_is_read_as_in_the_rfcs_example() -> None:
    """RFC 8628, section 3.2."""
    body = answer(
        device_code="GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
        user_code="WDJB-MJHT",
        verification_uri="https://example.com/device",
        verification_uri_complete="https://example.com/device?user_code=WDJB-MJHT",
        expires_in=1800,
        interval=5,
    )
    assert parse_device(200, body) == DeviceCode(
        device_code=Secret("GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"),
        user_code="WDJB-MJHT",
        uri="https://example.com/device",
        uri_complete="https://example.com/device?user_code=WDJB-MJHT",
        expires_in=1800,
        interval=5,
    )


def test_a_device_code_in_googles_words_without_an_interval() -> None:
    """It says verification_url."""
    found = parse_device(200, answer(device_code="d", user_code="u v", verification_url="https://g.example/device"))
    assert isinstance(found, DeviceCode)
    assert (found.uri, found.interval) == ("https://g.example/device", DEFAULT_INTERVAL)


@pytest.mark.parametrize(
    "changed",
    [{"user_code": "a\x1b[2J"}, {"verification_uri": "javascript:alert(1)"}, {"device_code": ""}, {"user_code": 5}],
)
def test_what_would_write_on_the_terminal_is_refused(changed: dict[str, object]) -> None:
    """Address and code are printed."""
    said = {"device_code": "d", "user_code": "u", "verification_uri": "https://example.com/"} | changed
    assert isinstance(parse_device(200, answer(**said)), Refusal)


def keys(**more: Any) -> Profile:  # noqa: ANN401 (a key's value)
    """Return a profile that signs in with tokens."""
    base = {"name": "o", "server": "h 995s", "user": "u", "local_user": "l", "oauth_client_id": "id"}
    return Profile.from_document(base | more)


def test_microsofts_endpoints_are_those_of_the_tenant() -> None:
    """Of any, unless one is named; a single endpoint may be another."""
    found = keys(oauth="microsoft").endpoints
    assert found.token_url == "https://login.microsoftonline.com/common/oauth2/v2.0/token"
    assert found.device_url == "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"
    assert found.scope == "https://outlook.office.com/POP.AccessAsUser.All offline_access"
    found = keys(oauth="microsoft", oauth_tenant="example.com", oauth_token_url="https://proxy.example/token").endpoints
    assert found.token_url == "https://proxy.example/token"
    assert found.device_url == "https://login.microsoftonline.com/example.com/oauth2/v2.0/devicecode"


def test_google_has_no_login_by_code_for_mail() -> None:
    """Its devices may not ask for the scope that POP3 needs: only a browser's login can."""
    found = keys(oauth="google").endpoints
    assert found.device_url is None
    assert found.authorize_url == "https://accounts.google.com/o/oauth2/v2/auth"
    assert found.scope == "https://mail.google.com/"


def test_a_profile_survives_the_ledger() -> None:
    """What was checked once is read again as it was."""
    profile = keys(oauth="custom", oauth_token_url="http://127.0.0.1:1/t", oauth_client_secret="env:S")
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.oauth is OAuthProvider.CUSTOM
