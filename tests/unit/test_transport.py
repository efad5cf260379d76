"""Proxies and fingerprints, as configurations write them."""

import pytest

from common.transport import Proxy, parse_fingerprint, parse_proxy

DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("socks5://127.0.0.1:9050", Proxy("127.0.0.1", 9050)),
        ("socks5h://proxy.example", Proxy("proxy.example", 1080)),
        (" socks5://[::1]:1081/ ", Proxy("::1", 1081)),
    ],
)
def test_a_proxy_is_read_and_written(text: str, proxy: Proxy) -> None:
    """What is written can be read again."""
    assert parse_proxy(text) == proxy
    assert parse_proxy(str(proxy)) == proxy


@pytest.mark.parametrize(
    "text", ["127.0.0.1:1080", "socks4://h:1", "http://h:1", "socks5://", "socks5://h:99999", "socks5://h/x", 1, None]
)
def test_what_is_no_proxy(text: object) -> None:
    """Each is refused with a ValueError, which the configuration's reader turns into its line."""
    with pytest.raises(ValueError, match=r"socks5|port"):
        parse_proxy(text)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    """It would stand in the ledger and in `pps profile list`."""
    with pytest.raises(ValueError, match="proxy_password") as raised:
        parse_proxy("socks5://user:canary@h:1080")
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        DIGITS,
        DIGITS.upper(),
        f"sha256:{DIGITS}",
        f"SHA256={DIGITS}",
        ":".join(DIGITS[i : i + 2] for i in range(0, 64, 2)).upper(),
    ],
)
def test_a_fingerprint_is_read_in_each_form(text: str) -> None:
    """With and without colons, in either case, as openssl, mpop and GnuTLS print them."""
    assert parse_fingerprint(text) == DIGITS


@pytest.mark.parametrize(
    "text", ["", "ab", DIGITS[:-2], f"{DIGITS}ab", f"md5:{DIGITS}", "g" * 64, f"0{DIGITS}", 7, None]
)
def test_what_is_no_fingerprint(text: object) -> None:
    """A SHA-1 or a cut one would pin nothing."""
    with pytest.raises(ValueError, match="SHA-256"):
        parse_fingerprint(text)
