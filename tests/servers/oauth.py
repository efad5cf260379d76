"""An OAuth 2 server on loopback: logins by code and browser, tokens that rotate, and introspection for Dovecot."""

import base64
import contextlib
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

CLIENT: Final = "pps-test"
CLIENT_SECRET: Final = "canary-client-secret"
SCOPE: Final = "pop3 offline_access"


@dataclass
class Device:
    """A login by code that has begun."""

    user_code: str
    user: str | None = None  # who allowed it
    denied: bool = False


@dataclass
class State:
    """What the server knows; tests look at it and change it."""

    lifetime: int = 3600  # seconds of an access token
    grant_lifetime: int | None = None
    interval: int = 1
    rotates: bool = True
    access: dict[str, tuple[str, float]] = field(default_factory=dict)  # token: user, until when
    refresh: dict[str, str] = field(default_factory=dict)  # token: user
    devices: dict[str, Device] = field(default_factory=dict)
    codes: dict[str, tuple[str, dict[str, str]]] = field(
        default_factory=dict
    )  # code: user, what the browser asked with
    asked: list[dict[str, str]] = field(default_factory=list)  # forms sent to /token
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # what /token says instead, one a request
    gate: threading.Event | None = None  # while not set, /token waits
    arrived: threading.Event = field(default_factory=threading.Event)  # somebody asked /token


class OAuthServer:
    """`with OAuthServer() as server:` starts and stops it."""

    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        self.state = State()
        self._lock = threading.Lock()
        handler = type("Bound", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._scheme = "http" if context is None else "https"
        if context is not None:
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )  # so that a client's refusal ends its own thread alone
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Where its endpoints are."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    @property
    def keys(self) -> dict[str, str]:
        """What a profile says to use it."""
        return {
            "oauth": "custom",
            "oauth_client_id": CLIENT,
            "oauth_scope": SCOPE,
            "oauth_token_url": f"{self.url}/token",
            "oauth_device_url": f"{self.url}/device",
            "oauth_authorize_url": f"{self.url}/authorize",
        }

    def grant(self, user: str) -> str:
        """Return a refresh token for a user, as after a login."""
        return str(self._issue(user)["refresh_token"])

    def allow(self, user_code: str, user: str) -> None:
        """Do what a person does with the code; user "" denies."""
        with self._lock:
            device = next(one for one in self.state.devices.values() if one.user_code == user_code)
            device.user, device.denied = user, not user

    def answer(self, path: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Answer a request."""
        with self._lock:
            if path == "/device":
                return _json(200, self._device())
            if path == "/introspect":
                return _json(200, self._introspect(form.get("token", "")))
        if path != "/token":
            return 404, b"not here"
        self.state.arrived.set()
        if self.state.gate is not None:
            self.state.gate.wait(20)
        with self._lock:
            self.state.asked.append(dict(form))
            if self.state.answers:
                return self.state.answers.pop(0)
            return self._token(form)

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where a browser is sent whose user is ann and agrees."""
        code = secrets.token_hex(8)
        with self._lock:
            self.state.codes[code] = ("ann", asked)
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    def _device(self) -> dict[str, Any]:
        code, user_code = secrets.token_hex(16), secrets.token_hex(4).upper()
        self.state.devices[code] = Device(user_code)
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": f"{self.url}/go",
            "expires_in": 600,
            "interval": self.state.interval,
        }

    def _introspect(self, token: str) -> dict[str, Any]:
        user, until = self.state.access.get(token, ("", 0.0))
        active = until > time.time()
        return {"active": active, "username": user, "scope": SCOPE} if active else {"active": False}

    def _token(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        if form.get("client_id") != CLIENT:
            return _json(401, {"error": "invalid_client", "error_description": f"unknown {form.get('client_id')}"})
        match form.get("grant_type"):
            case "refresh_token":
                token = form.get("refresh_token", "")
                user = self.state.refresh.pop(token, None) if self.state.rotates else self.state.refresh.get(token)
                if user is None:
                    return _json(400, {"error": "invalid_grant", "error_description": f"no such token {token}"})
                return _json(200, self._issue(user, again=self.state.rotates))
            case "authorization_code":
                return self._of_browser(form)
            case _:
                return self._of_device(form.get("device_code", ""))

    def _of_device(self, code: str) -> tuple[int, bytes]:
        device = self.state.devices.get(code)
        if device is None:
            return _json(400, {"error": "expired_token"})
        if device.denied:
            return _json(400, {"error": "access_denied"})
        if device.user is None:
            return _json(400, {"error": "authorization_pending"})
        del self.state.devices[code]
        return _json(200, self._issue(device.user))

    def _of_browser(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        user, asked = self.state.codes.pop(form.get("code", ""), ("", {}))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if not user or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
            return _json(400, {"error": "invalid_grant"})
        return _json(200, self._issue(user))

    def _issue(self, user: str, *, again: bool = True) -> dict[str, Any]:
        access = f"canary-access-{secrets.token_hex(300)}"
        self.state.access[access] = (user, time.time() + self.state.lifetime)
        issued: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": self.state.lifetime}
        if again:
            issued["refresh_token"] = f"canary-refresh-{secrets.token_hex(20)}"
            self.state.refresh[issued["refresh_token"]] = user
        if self.state.grant_lifetime is not None:
            issued["refresh_token_expires_in"] = self.state.grant_lifetime
        return issued


class _Handler(BaseHTTPRequestHandler):
    owner: OAuthServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a form."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        status, answer = self.owner.answer(urlsplit(self.path).path, dict(parse_qsl(body)))
        self._send(status, answer)

    def do_GET(self) -> None:
        """Stand for the provider's pages: /authorize agrees at once."""
        parts = urlsplit(self.path)
        if parts.path != "/authorize":
            self._send(404, b"not here")
            return
        self.send_response(302)
        self.send_header("Location", self.owner.authorize(dict(parse_qsl(parts.query))))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        """Serve a connection; one that breaks off is no matter for stderr."""
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _send(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def _json(status: int, value: object) -> tuple[int, bytes]:
    return status, json.dumps(value).encode()
