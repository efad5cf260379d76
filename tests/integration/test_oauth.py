"""Signing in with OAuth 2 tokens: a real Dovecot that asks a real OAuth server whether they are good."""

import asyncio
import gzip
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from common.failures import PollError, PollResult
from common.ledger.reader import LedgerReader
from common.ledger.standing import read_standing
from common.oauth_keys import Endpoints
from common.profile import Auth
from common.secrets import Secret, make_key
from common.server import parse_server
from fetcher.connection import Connection
from fetcher.grants import GrantEndedError, Grants, grants_of
from fetcher.link import Link
from fetcher.oauth_answers import Tokens
from fetcher.oauth_client import OAuthClient
from manager.doctor.mailboxes import profile_check
from manager.profiles import known_profiles
from manager.trouble import troubles_of
from tests.integration.service import Installation, Serving, install, traces
from tests.ledger import change
from tests.mails import mail
from tests.servers.certificates import issue
from tests.servers.dovecot import Dovecot
from tests.servers.oauth import CLIENT, OAuthServer, State
from tests.status import ProfileStatus

CANARY: Final = b"canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A mail provider: its OAuth server, and its POP3 server that believes the tokens."""

    oauth: OAuthServer
    dovecot: Dovecot


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    with OAuthServer() as oauth, Dovecot(introspection_url=f"{oauth.url}/introspect", tls=False) as dovecot:
        yield Provider(oauth=oauth, dovecot=dovecot)


@pytest.fixture
def provider(_provider: Provider) -> Provider:
    """Give the provider with an empty mailbox of ann's, and an OAuth server that knows nothing yet."""
    _provider.oauth.state = State()
    _provider.dovecot.add_user("ann")
    _provider.dovecot.empty()
    return _provider


def installed(provider: Provider, folder: Path, **keys: object) -> Installation:
    """Write a configuration whose one profile is ann's mailbox."""
    key = folder / "pps.key"
    key.write_text(make_key())
    key.chmod(0o600)
    table = {
        "name": "office",
        "server": f"{provider.dovecot.host} {provider.dovecot.pop3_port}",
        "user": "ann",
        "local_user": "ann@local.example",
        "interval": "1h",
        **provider.oauth.keys,
    }
    return install(folder, {**table, **keys})


def held(serving: Serving) -> Grants:
    """Return the grants of a running service."""
    return grants_of(serving.parts.config, serving.parts.ledger, serving.parts.log)


async def sign_in(
    serving: Serving, provider: Provider, *, expires_in: int = 1, grant_expires_in: int | None = None
) -> None:
    """Store a grant as a login does, whose access token is none that the provider knows, and is over at once."""
    tokens = Tokens(
        access=Secret("canary-stale"),
        refresh=Secret(provider.oauth.grant("ann")),
        expires_in=expires_in,
        grant_expires_in=grant_expires_in,
    )
    profile = serving.parts.config.profiles[0]
    await held(serving).keep(profile, tokens)
    if expires_in == 1:
        await serving.parts.ledger.distrust_grant(profile.mailbox)


async def poll(serving: Serving) -> ProfileStatus:
    """Poll, and return how the profile stands."""
    return await serving.poll("office")


# The mechanisms, against Dovecot


@pytest.mark.parametrize("auth", [Auth.XOAUTH2, Auth.OAUTHBEARER, Auth.AUTO])
@pytest.mark.parametrize("length", [10, 300])
async def test_a_token_opens_the_mailbox_in_one_step_or_two(provider: Provider, auth: Auth, length: int) -> None:
    """One that fits AUTH's line goes with it; a longer one, as real ones are, waits for the server's "+"."""
    token = "t" * length
    provider.oauth.state.access[token] = ("ann", 1e12)
    where = parse_server(f"{provider.dovecot.host} {provider.dovecot.pop3_port}")
    connection = await Connection.open(Link(server=where))
    try:
        await connection.authenticate("ann", token, auth, bearer=True)
        assert await connection.listing() == ()
    finally:
        connection.abort()


@pytest.mark.parametrize("auth", [Auth.XOAUTH2, Auth.OAUTHBEARER])
async def test_a_wrong_token_is_refused_with_the_reason(provider: Provider, auth: Auth) -> None:
    """The challenge is answered, so that Dovecot ends AUTH by itself; what it said in JSON is shown."""
    where = parse_server(f"{provider.dovecot.host} {provider.dovecot.pop3_port}")
    connection = await Connection.open(Link(server=where))
    try:
        with pytest.raises(PollError, match=r"\(status (401, scope mail|invalid_token)\)") as raised:
            await connection.authenticate("ann", "canary-wrong", auth, bearer=True)
    finally:
        connection.abort()
    assert raised.value.result is PollResult.AUTH
    assert "canary" not in str(raised.value)


# Tokens


async def test_mail_is_fetched_with_tokens_that_are_got_and_kept_sealed(provider: Provider, tmp_path: Path) -> None:
    """The stored token is over: another is got, the new refresh token is stored with it, and none is in any file."""
    there = installed(provider, tmp_path)
    provider.dovecot.plant("ann", [mail(), mail()])
    async with there.serving() as serving:
        await sign_in(serving, provider)
        assert (await poll(serving)).last_result in {"ok", "empty"}  # the login itself makes the profile due
        assert (await poll(serving)).last_result == "empty"
        grant = await serving.parts.ledger.grant_of(serving.parts.config.profiles[0].mailbox)
    assert grant is not None
    assert 3200 < grant.fresh_for < 3400
    assert len(there.inbox("ann")) == 2
    assert [form["grant_type"] for form in provider.oauth.state.asked] == ["refresh_token"]
    assert len(there.events("token_refreshed", profile="office")) == 1
    assert traces(tmp_path, CANARY) == []


async def test_one_worker_gets_the_token_and_the_others_have_it(provider: Provider, tmp_path: Path) -> None:
    """Five need a token at once; the provider, which forgets each refresh token it was shown, is asked once."""
    there = installed(provider, tmp_path, enabled=False)
    gate = provider.oauth.state.gate = threading.Event()
    async with there.serving() as serving:
        await sign_in(serving, provider)
        profile = serving.parts.config.profiles[0]
        asking = [asyncio.create_task(held(serving).access_token(profile)) for _ in range(5)]
        assert await asyncio.to_thread(provider.oauth.state.arrived.wait, 10)
        gate.set()
        tokens = {token.reveal() for token in await asyncio.gather(*asking)}
    assert len(tokens) == 1
    assert len(provider.oauth.state.asked) == 1


async def test_who_comes_while_another_gets_the_token_uses_the_old_one(provider: Provider, tmp_path: Path) -> None:
    """Ahead of its end the old token is good: nobody waits for the provider."""
    there = installed(provider, tmp_path, enabled=False)
    async with there.serving() as serving:
        await sign_in(serving, provider, expires_in=100)
        profile = serving.parts.config.profiles[0]
        stored = await serving.parts.ledger.claim_grant(profile.mailbox)
        assert stored is not None
        await make_stale(serving, still_valid=True)
        assert (await held(serving).access_token(profile)).reveal() == "canary-stale"
    assert provider.oauth.state.asked == []


async def make_stale(serving: Serving, *, still_valid: bool) -> None:
    """Age the stored grant so that another token is due, whether or not this one is over."""
    over = "" if still_valid else ", expires_at = 1"
    await change(serving.parts.ledger, f"UPDATE grants SET refresh_at = 1{over}")  # noqa: S608 (no input)


async def test_while_the_provider_is_away_the_old_token_serves(provider: Provider, tmp_path: Path) -> None:
    """The next is got ahead of time, so an outage of minutes delays no mail; past the end it is a network failure."""
    there = installed(provider, tmp_path, enabled=False)
    provider.oauth.state.answers = [(503, b"busy"), (503, b"busy")]
    async with there.serving() as serving:
        await sign_in(serving, provider, expires_in=100)
        profile = serving.parts.config.profiles[0]
        await make_stale(serving, still_valid=True)
        assert (await held(serving).access_token(profile)).reveal() == "canary-stale"
        await make_stale(serving, still_valid=False)
        with pytest.raises(PollError, match="it answers 503") as raised:
            await held(serving).access_token(profile)
        assert raised.value.result is PollResult.NETWORK
        assert (await held(serving).access_token(profile)).reveal().startswith("canary-access")
    assert len(there.events("token_not_refreshed")) == 1


async def test_a_grant_that_has_ended_stops_the_profile_and_says_what_to_do(provider: Provider, tmp_path: Path) -> None:
    """Revoked or run out: nobody but a person can mend it, so the provider isn't asked again and again."""
    there = installed(provider, tmp_path)
    async with there.serving() as serving:
        await sign_in(serving, provider)
        provider.oauth.state.refresh.clear()
        for _ in range(2):
            stopped = await poll(serving)
            assert (stopped.last_result, stopped.due_at) == ("grant", None)
            assert stopped.last_error is not None
            assert stopped.last_error.endswith(
                ": no further token: invalid_grant: no such token ***: pps oauth login office"
            )
    assert len(provider.oauth.state.asked) == 1
    assert traces(tmp_path, CANARY) == []


async def test_without_a_login_the_profile_says_so(provider: Provider, tmp_path: Path) -> None:
    """It stops, as it can't get better by itself."""
    async with installed(provider, tmp_path).serving() as serving:
        stopped = await poll(serving)
    assert stopped.due_at is None
    assert stopped.last_error is not None
    assert stopped.last_error.endswith(": nobody has signed in yet: pps oauth login office")


async def test_a_token_that_is_refused_before_its_time_is_replaced(provider: Provider, tmp_path: Path) -> None:
    """Withdrawn by the provider: one auth failure, and the next poll brings another token."""
    there = installed(provider, tmp_path)
    async with there.serving() as serving:
        await sign_in(serving, provider, expires_in=3600)
        assert (await poll(serving)).last_result == "auth"
        assert (await poll(serving)).last_result == "empty"


async def test_a_persons_login_wins_over_a_refresh_under_way(provider: Provider, tmp_path: Path) -> None:
    """The worker's answer comes after the new login was stored: it is not written over it."""
    there = installed(provider, tmp_path, enabled=False)
    gate = provider.oauth.state.gate = threading.Event()
    async with there.serving() as serving:
        await sign_in(serving, provider)
        profile = serving.parts.config.profiles[0]
        asking = asyncio.create_task(held(serving).access_token(profile))
        assert await asyncio.to_thread(provider.oauth.state.arrived.wait, 10)
        await held(serving).keep(
            profile, Tokens(access=Secret("canary-new"), refresh=Secret("canary-newer"), expires_in=3600)
        )
        gate.set()
        assert (await asking).reveal() == "canary-new"
        assert (await held(serving).access_token(profile)).reveal() == "canary-new"


async def test_a_poll_that_is_broken_off_leaves_the_token_that_came(provider: Provider, tmp_path: Path) -> None:
    """The provider has forgotten the old refresh token by then: without the new one a person must sign in."""
    there = installed(provider, tmp_path, enabled=False)
    gate = provider.oauth.state.gate = threading.Event()
    async with there.serving() as serving:
        await sign_in(serving, provider)
        profile = serving.parts.config.profiles[0]
        asking = asyncio.create_task(held(serving).access_token(profile))
        assert await asyncio.to_thread(provider.oauth.state.arrived.wait, 10)
        asking.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await held(serving).access_token(profile)).reveal().startswith("canary-access")
    assert len(provider.oauth.state.asked) == 1


async def test_a_grant_that_runs_out_soon_is_told_in_time(provider: Provider, tmp_path: Path) -> None:
    """The provider says when: a week before, each refresh warns."""
    provider.oauth.state.grant_lifetime = 86_400
    there = installed(provider, tmp_path)
    async with there.serving() as serving:
        await sign_in(serving, provider)
        assert (await poll(serving)).last_result == "empty"
        standing = await read_standing(LedgerReader(serving.parts.ledger))
    assert [event["seconds"] for event in there.events("grant_ends_soon", profile="office")] == [86_400]
    assert [one.mend for one in troubles_of(standing, running=True)] == ["pps oauth login office"]


@pytest.mark.parametrize(
    ("answer", "told", "result"),
    [
        ((401, b'{"error":"invalid_client"}'), "invalid_client: check oauth_client_id", PollResult.LOCAL),
        ((200, b'{"access_token":"a b"}'), "no bearer token", PollResult.LOCAL),
        ((200, b'{"access_token":"x","token_type":"mac"}'), "no bearer token", PollResult.LOCAL),
        ((200, b"<html>"), "it answers 200, and nothing that OAuth 2 knows", PollResult.LOCAL),
        ((302, b""), "it answers 302, and nothing that OAuth 2 knows", PollResult.LOCAL),
        ((429, b""), "it answers 429", PollResult.NETWORK),
        ((200, b"x" * 300_000), "an answer over 262144 octets", PollResult.NETWORK),
        ((200, gzip.compress(b"x" * 300_000)), "nothing that OAuth 2 knows", PollResult.LOCAL),
        ((400, b'{"error":"interaction_required"}'), "pps oauth login office", PollResult.GRANT),
    ],
)
async def test_each_answer_of_a_provider_is_classed(
    provider: Provider, tmp_path: Path, answer: tuple[int, bytes], told: str, result: PollResult
) -> None:
    """What a person must mend, what the configuration must mend, and what time mends; each in one line."""
    there = installed(provider, tmp_path, enabled=False)
    provider.oauth.state.answers = [answer]
    async with there.serving() as serving:
        await sign_in(serving, provider)
        with pytest.raises(PollError) as raised:
            await held(serving).access_token(serving.parts.config.profiles[0])
    assert told in str(raised.value)
    assert raised.value.result is result
    assert isinstance(raised.value, GrantEndedError) is (result is PollResult.GRANT)


async def test_a_provider_that_nobody_reaches(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port, and silence past the deadline."""
    there = installed(provider, tmp_path, enabled=False)
    provider.oauth.state.gate = threading.Event()
    async with there.serving() as serving:
        await sign_in(serving, provider)
        profile = serving.parts.config.profiles[0]
        closed = profile.model_copy(update={"oauth_token_url": "http://127.0.0.1:9/token"})
        with pytest.raises(PollError, match="can't ask for a token"):
            await held(serving).access_token(closed)
        monkeypatch.setattr("fetcher.oauth_client.SECONDS", 0.3)
        with pytest.raises(PollError, match="no answer in 0 s"):
            await held(serving).access_token(profile)
    provider.oauth.state.gate.set()


async def test_the_providers_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the system's authorities, or those that SSL_CERT_FILE names, as for all else that asks over HTTPS."""
    certificates = issue(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    with OAuthServer(context=context) as server:
        assert server.url.startswith("https://")
        client = OAuthClient(
            endpoints=Endpoints(
                client_id=CLIENT, token_url=f"{server.url}/token", device_url=None, authorize_url=None, scope=None
            )
        )
        with pytest.raises(PollError, match="certificate verify failed") as raised:
            await client.refresh(Secret(server.grant("ann")))
        assert raised.value.result is PollResult.NETWORK
        assert server.state.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
        assert isinstance(await client.refresh(Secret(server.grant("ann"))), Tokens)


async def test_doctor_signs_in_with_a_token(provider: Provider, tmp_path: Path) -> None:
    """As a fetcher would; where nobody has signed in yet, the command that does it is named."""
    there = installed(provider, tmp_path)

    [before] = await profile_check((await known_profiles(there.config))[0], there.config)
    async with there.serving() as serving:
        await sign_in(serving, provider)
    [after] = await profile_check((await known_profiles(there.config))[0], there.config)

    assert before.says.endswith("nobody has signed in yet: pps oauth login office")
    assert (after.grade, after.says.endswith("lets ann in")) == ("ok", True), after
