"""`pps oauth login`: by code, in a browser, or with a token that is there already; and how grants stand."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from common.failures import PollError, PpsError
from common.oauth_keys import Endpoints
from fetcher.oauth_answers import DeviceCode, Tokens
from fetcher.oauth_client import OAuthClient
from manager.device_login import by_code
from tests.command import ROOT
from tests.integration.service import Installation, traces
from tests.integration.test_oauth import Provider, _provider, installed, provider
from tests.mails import mail
from tests.servers.oauth import CLIENT, SCOPE

__all__ = ["_provider", "provider"]  # fixtures that pytest finds here by name

WAIT_SECONDS: Final = 60
PENDING: Final = (400, b'{"error":"authorization_pending"}')
SLOW_DOWN: Final = (400, b'{"error":"slow_down"}')


@contextmanager
def logging_in(there: Installation, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `pps oauth login office`, whose lines the test reads; it must end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "manager.cli.main", "oauth", "login", "office", *options],
        cwd=there.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> Any:  # noqa: ANN401 (JSON)
    """Return the next line that a login prints, which is JSON."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_a_mailbox_is_signed_in_by_code_and_then_pulled(provider: Provider, tmp_path: Path) -> None:
    """Address and code are shown; once a person allowed it elsewhere, the mail comes, and no token is in any file."""
    there = installed(provider, tmp_path, interval="1h")
    provider.dovecot.plant("ann", [mail()])
    with logging_in(there) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"Open {provider.oauth.url}/go and enter ")
        provider.oauth.allow(line.split()[-1], "ann")
        out, complaints = process.communicate(timeout=WAIT_SECONDS)
        assert (process.returncode, complaints) == (0, "")
    assert out.splitlines()[-1] == "office is signed in, and polled next."
    listed = there.pps("oauth", "list", "--json")
    assert listed.code == 0
    assert [(one["profile"], one["user"], one["state"]) for one in json.loads(listed.out)["grants"]] == [
        ("office", "ann", "good")
    ]
    assert there.pps("pull").code == 0
    assert len(there.inbox("ann")) == 1
    assert traces(tmp_path, b"canary") == []


def test_a_mailbox_is_signed_in_by_a_browser(provider: Provider, tmp_path: Path) -> None:
    """The browser comes back with a code; one that bears another state is turned away, and changes nothing."""
    there = installed(provider, tmp_path)
    with logging_in(there, "--browser", "--json") as process:
        address = said(process)["authorization_uri"]
        sent = httpx.get(address)
        back = sent.headers["Location"].replace("localhost", "127.0.0.1")
        assert httpx.get(back.partition("?")[0] + "?code=canary&state=other").status_code == 404
        assert httpx.get(back).status_code == 200
        out, complaints = process.communicate(timeout=WAIT_SECONDS)
        assert (process.returncode, complaints) == (0, "")
    assert json.loads(out) == {"profile": "office", "signed_in": True}
    assert traces(tmp_path, b"canary") == []


def test_a_browser_that_brings_a_refusal(provider: Provider, tmp_path: Path) -> None:
    """The person said no: exit 1, in the provider's word."""
    there = installed(provider, tmp_path)
    with logging_in(there, "--browser", "--json") as process:
        sent = httpx.get(said(process)["authorization_uri"])
        back, _, query = sent.headers["Location"].replace("localhost", "127.0.0.1").partition("?")
        httpx.get(f"{back}?error=access_denied&{query.partition('&')[2]}")
        _, complaints = process.communicate(timeout=WAIT_SECONDS)
        assert (process.returncode, complaints) == (1, "pps: the login failed: access_denied\n")


def test_a_refresh_token_that_is_there_already_is_tried_and_kept(provider: Provider, tmp_path: Path) -> None:
    """From a file, as every secret; one that the provider doesn't know is not kept, and not shown."""
    there = installed(provider, tmp_path)
    token = tmp_path / "token"
    token.write_text("canary-unknown")
    token.chmod(0o600)
    refused = there.pps("oauth", "login", "office", "--refresh-token", "file:token")
    assert refused.code == 1
    assert refused.err == "pps: --refresh-token: invalid_grant: no such token ***: sign in anew, without it\n"
    listed = there.pps("oauth", "list")
    assert listed.code == 1
    assert " ".join(listed.out.split()).endswith("office ann nobody has signed in pps oauth login office")
    token.write_text(provider.oauth.grant("ann"))
    assert there.pps("oauth", "login", "office", "--refresh-token", "file:token").code == 0


def test_what_a_user_can_get_wrong(provider: Provider, tmp_path: Path) -> None:
    """Another name, a profile with a password, no key to seal with: exit and line say so before anything is asked."""
    there = installed(provider, tmp_path)
    wrong = there.pps("oauth", "login", "ofice")
    assert (wrong.code, wrong.err) == (2, 'pps: pps.toml: no profile "ofice": did you mean "office"?\n')
    (tmp_path / "pps.key").unlink()
    keyless = there.pps("oauth", "login", "office")
    assert keyless.code == 1
    assert keyless.err.startswith("pps: [service] key: file:")
    assert provider.oauth.state.devices == {}
    config = there.folder / "pps.toml"
    config.write_text(config.read_text().partition("oauth = ")[0] + 'password = "env:NONE"\n')
    plain = there.pps("oauth", "login", "office")
    assert plain.code == 2
    assert plain.err == 'pps: pps.toml: profile "office" signs in with a password: set oauth and oauth_client_id\n'


# The code's polling, without waiting


def client(provider: Provider) -> OAuthClient:
    """Return the test's application at the provider."""
    at = provider.oauth.url
    endpoints = Endpoints(
        client_id=CLIENT, token_url=f"{at}/token", device_url=f"{at}/device", authorize_url=None, scope=SCOPE
    )
    return OAuthClient(endpoints=endpoints)


async def test_the_provider_is_asked_as_often_as_it_says(provider: Provider) -> None:
    """Its interval; five seconds more for good after each slow_down; twice as long after no answer (RFC 8628, 3.5)."""
    provider.oauth.state.interval = 3
    provider.oauth.state.answers = [PENDING, SLOW_DOWN, PENDING, (503, b""), SLOW_DOWN]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    def show(code: DeviceCode) -> None:
        provider.oauth.allow(code.user_code, "ann")

    assert isinstance(await by_code(client(provider), show, sleep=sleep), Tokens)
    assert waited == [3, 3, 8, 8, 16, 21]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((400, b'{"error":"access_denied"}'), "declined"),
        ((400, b'{"error":"expired_token"}'), "the code has expired"),
        ((401, b'{"error":"invalid_client"}'), "check oauth_client_id"),
    ],
)
async def test_each_end_of_a_login_is_told(provider: Provider, answer: tuple[int, bytes], told: str) -> None:
    """Declined, too late, or an application that the provider doesn't know."""
    provider.oauth.state.answers = [answer]

    async def sleep(_seconds: float) -> None:
        pass

    with pytest.raises(PpsError, match=told) as raised:
        await by_code(client(provider), lambda _code: None, sleep=sleep)
    assert not isinstance(raised.value, PollError)
