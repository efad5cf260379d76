"""The way to a server: pinned certificates, client certificates, SNI, IPv6, SOCKS5 proxies, and TLS that is too old."""

import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trustme

from common.failures import PollError
from common.profile import Profile, Tls
from common.secrets import Secret
from common.server import parse_server
from common.transport import parse_proxy
from fetcher.connection import Connection
from fetcher.link import Link, link_of
from fetcher.proxy import ProxyAccess
from fetcher.streams import Limits
from fetcher.tls import Trust
from tests.servers import socks
from tests.servers.certificates import Certificates, issue
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.plain_tls import PlainTls
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.process import free_port
from tests.servers.socks import SocksProxy

HASTY: Final = Limits(connect=5, greeting=5, idle=5)
ELSEWHERE: Final = "ab" * 32

GROUP_1024: Final = """\
-----BEGIN DH PARAMETERS-----
MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR
Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL
/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC
-----END DH PARAMETERS-----
"""
"""RFC 2409, section 6.2: the Diffie-Hellman group that servers of the nineties have."""


@asynccontextmanager
async def opened(link: Link) -> AsyncIterator[Connection]:
    """Open a connection, and drop it in the end."""
    connection = await Connection.open(link, limits=HASTY)
    try:
        yield connection
    finally:
        connection.abort()


async def failure(link: Link) -> str:
    """Return how opening failed."""
    with pytest.raises(PollError) as raised:
        await Connection.open(link, limits=HASTY)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def context_of(certificates: Certificates) -> ssl.SSLContext:
    """Return a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


def certificates_of(dovecot: Dovecot) -> Certificates:
    """Return Dovecot's certificates; their CA is none that the system trusts."""
    assert dovecot.certificates is not None
    return dovecot.certificates


def ways(dovecot: Dovecot) -> list[tuple[str, Tls]]:
    """Return the two ways to encrypted POP3."""
    return [(f"127.0.0.1 {dovecot.pop3_port}", Tls.STARTTLS), (f"127.0.0.1 {dovecot.pop3s_port}s", Tls.AUTO)]


# Pinning


async def test_a_pinned_certificate_needs_no_issuer(mailbox: Mailbox) -> None:
    """By STLS and at once; several may be pinned, so that the next one is known before the server changes."""
    pinned = certificates_of(mailbox.dovecot).fingerprint
    for server, tls in ways(mailbox.dovecot):
        link = Link(server=parse_server(server), tls=tls, trust=Trust(fingerprints=(ELSEWHERE, pinned)))
        async with opened(link) as connection:
            await connection.authenticate(mailbox.user, mailbox.password)
            assert await connection.listing() == ()


@pytest.mark.parametrize("implicit", [True, False])
async def test_another_certificate_than_the_pinned_one_is_told_nothing(
    tmp_path: Path,
    implicit: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Not even CAPA: the name of the user comes later, the password later still. The one found is named."""
    certificates = issue(tmp_path)
    async with Pop3Server(context=context_of(certificates), implicit_tls=implicit) as server:
        tls = Tls.IMPLICIT if implicit else Tls.STARTTLS
        said = await failure(Link(server=parse_server(server.server), tls=tls, trust=Trust(fingerprints=(ELSEWHERE,))))
        assert server.commands == ([] if implicit else ["CAPA", "STLS"])
    assert said == (
        f"{server.server}: its certificate is not the one that fingerprint names, but "
        f"sha256:{certificates.fingerprint}: find out from its operator whether it was renewed"
    )


async def test_with_ca_as_well_issuer_name_and_fingerprint_must_hold(tmp_path: Path) -> None:
    """A pin doesn't weaken what `ca` asks for, and a good chain doesn't replace the pin."""
    (tmp_path / "other").mkdir()
    certificates, other = issue(tmp_path), issue(tmp_path / "other")
    async with Pop3Server(context=context_of(certificates), implicit_tls=True) as server:
        where, pinned = parse_server(server.server), certificates.fingerprint
        async with opened(Link(server=where, trust=Trust(ca=str(certificates.ca), fingerprints=(pinned,)))):
            pass
        wrong_pin = await failure(Link(server=where, trust=Trust(ca=str(certificates.ca), fingerprints=(ELSEWHERE,))))
        wrong_ca = await failure(Link(server=where, trust=Trust(ca=str(other.ca), fingerprints=(pinned,))))
    assert "fingerprint names" in wrong_pin
    assert "is not trusted" in wrong_ca


# Client certificates


@pytest.mark.parametrize("one_file", [True, False])
async def test_a_client_certificate_is_shown(
    tmp_path: Path,
    one_file: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """To a server that asks for one, from two files or from one."""
    authority = trustme.CA()
    client = authority.issue_cert("ann@example.com")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    client.cert_chain_pems[0].write_to_path(certificate)
    client.private_key_pem.write_to_path(certificate if one_file else key, append=one_file)
    certificates = issue(tmp_path)
    context = context_of(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    trust = Trust(ca=str(certificates.ca), client_cert=str(certificate), client_key=None if one_file else str(key))
    with PlainTls(context, implicit_tls=True) as server:
        where = parse_server(server.server)
        async with opened(Link(server=where, trust=trust)) as connection:
            assert connection.capabilities.known
        without = await failure(Link(server=where, trust=Trust(ca=str(certificates.ca))))
    assert without == f"{where}: it asks for a client certificate: name one in client_cert"


async def test_a_client_certificate_that_can_not_be_used(tmp_path: Path) -> None:
    """A missing file, a key of another certificate, an encrypted key: each names the key of the configuration."""
    first, other = issue(tmp_path), None
    (tmp_path / "other").mkdir()
    other = issue(tmp_path / "other")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiJsdK9bmcbrwICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFb0\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for certificate, key in (
        (tmp_path / "missing.pem", first.key),
        (first.chain, other.key),
        (first.chain, encrypted),
    ):
        trust = Trust(client_cert=str(certificate), client_key=str(key))
        said = await failure(Link(server=parse_server(f"127.0.0.1 {free_port()}s"), trust=trust))
        assert "client_cert: " in said or "client_key: " in said


# Names and addresses


@pytest.mark.parametrize(("host", "name"), [("localhost", "localhost"), ("127.0.0.1", None)])
async def test_the_servers_name_is_sent_and_an_address_is_not(tmp_path: Path, host: str, name: str | None) -> None:
    """SNI is for names alone (RFC 6066, section 3); servers with many certificates go by it."""
    certificates = issue(tmp_path)
    context = context_of(certificates)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, asked, _context: names.append(asked)
    async with Pop3Server(context=context, implicit_tls=True) as server:
        where = parse_server(f"{host} {server.port}s")
        async with opened(Link(server=where, trust=Trust(ca=str(certificates.ca)))):
            pass
    assert names == [name]


async def test_an_ipv6_address(tmp_path: Path) -> None:
    """In brackets, with TLS that verifies the address; it counts as loopback; and it survives the ledger."""
    certificates = issue(tmp_path)
    server = Pop3Server(context=context_of(certificates))
    server.host = "::1"
    async with server:
        where = parse_server(f"[::1] {server.port}")
        assert parse_server(str(where)) == where
        for tls in (Tls.AUTO, Tls.STARTTLS):
            async with opened(Link(server=where, tls=tls, trust=Trust(ca=str(certificates.ca)))):
                pass
    assert server.commands == ["CAPA", "CAPA", "STLS", "CAPA"]


# SOCKS5


async def test_mail_is_fetched_through_a_proxy(mailbox: Mailbox, tmp_path: Path) -> None:
    """The proxy looks up the name; TLS is verified end to end; the log of the proxy shows that it was there."""
    ca = str(certificates_of(mailbox.dovecot).ca)
    with SocksProxy(tmp_path) as proxy:
        link = Link(
            server=parse_server(f"localhost {mailbox.dovecot.pop3s_port}s"),
            trust=Trust(ca=ca),
            proxy=ProxyAccess(proxy=parse_proxy(proxy.url)),
        )
        async with opened(link) as connection:
            await connection.authenticate(mailbox.user, mailbox.password)
            assert await connection.listing() == ()
    assert f"connected to localhost:{mailbox.dovecot.pop3s_port}" in (tmp_path / "microsocks.log").read_text()


async def test_behind_a_proxy_nothing_is_loopback(tmp_path: Path) -> None:
    """The proxy is near, the server may be anywhere: cleartext is refused."""
    with SocksProxy(tmp_path) as proxy:
        async with Pop3Server() as server:
            access = ProxyAccess(proxy=parse_proxy(proxy.url))
            said = await failure(Link(server=parse_server(server.server), proxy=access))
    assert "it offers no encryption (STLS)" in said


async def test_a_proxy_with_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from a reference, and is in no error when it is wrong."""
    monkeypatch.setenv("PROXY_PASSWORD", socks.PASSWORD)
    with SocksProxy(tmp_path, account=True) as proxy:
        async with Pop3Server() as server:
            server.mailbox("ann")
            profile = Profile.from_document(
                {
                    "name": "ann", "server": server.server, "user": "ann", "password": "env:NONE", "local_user": "ann",
                    "tls": "none", "proxy": proxy.url, "proxy_user": socks.USER, "proxy_password": "env:PROXY_PASSWORD",
                }
            )  # fmt: skip
            link = await link_of(Profile.from_json(profile.to_json()), base=tmp_path)
            async with opened(link) as connection:
                await connection.authenticate("ann", PASSWORD)
            wrong = ProxyAccess(proxy=parse_proxy(proxy.url), user=socks.USER, password=Secret("canary-wrong"))
            said = await failure(Link(server=parse_server(server.server), proxy=wrong))
    assert said.endswith(": check proxy_user and proxy_password")
    assert "canary" not in said
    assert "canary" not in repr(link)


async def test_each_failure_of_a_proxy_says_whose_it_is(tmp_path: Path) -> None:
    """Nobody listens at the proxy; or the proxy can't reach the server; or what listens there is no proxy."""
    server = parse_server(f"127.0.0.1 {free_port()}")
    nobody = f"socks5://127.0.0.1:{free_port()}"
    said = await failure(Link(server=server, proxy=ProxyAccess(proxy=parse_proxy(nobody))))
    assert said == f"{server}: proxy {nobody}: can't reach it: check proxy"
    with SocksProxy(tmp_path) as proxy:
        said = await failure(Link(server=server, proxy=ProxyAccess(proxy=parse_proxy(proxy.url))))
        assert said == f"{server}: proxy {proxy.url}: Connection refused by destination host"
    async with Pop3Server() as other:
        said = await failure(
            Link(server=server, proxy=ProxyAccess(proxy=parse_proxy(f"socks5://{other.host}:{other.port}")))
        )
        assert said.startswith(f"{server}: proxy socks5://{other.host}:{other.port}: ")


# TLS that is too old


def old_context(certificates: Certificates) -> ssl.SSLContext:
    """Return a server's context that takes what OpenSSL's security level forbids."""
    context = context_of(certificates)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_server_that_knows_only_old_tls_is_told_what_it_offers(
    tmp_path: Path,
    implicit: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """At once and by STLS: the version and cipher that the operator must leave behind; nothing is said over it."""
    context = old_context(issue(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what the test is about
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    with PlainTls(context, implicit_tls=implicit) as server:
        link = Link(
            server=parse_server(server.server),
            tls=Tls.IMPLICIT if implicit else Tls.STARTTLS,
            trust=Trust(ca=str(tmp_path / "ca.pem")),
        )
        said = await failure(link)
        assert set(server.commands) <= {b"CAPA", b"STLS"}
    assert "it offers TLSv1 with " in said
    assert "PPS asks for TLS 1.2 or newer" in said


async def test_a_server_with_a_small_diffie_hellman_group(tmp_path: Path) -> None:
    """OpenSSL's word for it is kept, and what the server offers is named."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-SHA:DHE:@SECLEVEL=0")
    group = tmp_path / "dh.pem"
    group.write_text(GROUP_1024)
    context.load_dh_params(str(group))
    with PlainTls(context, implicit_tls=True) as server:
        said = await failure(Link(server=parse_server(server.server), trust=Trust(ca=str(tmp_path / "ca.pem"))))
    assert "DH_KEY_TOO_SMALL" in said
    assert "it offers TLSv1.2 with DHE-" in said
