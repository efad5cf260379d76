"""A private S3 server for tests, moto's, in a thread of this process: its objects outlive a stop, and can be aged."""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from moto import settings
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.servers.process import free_port

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

ACCESS_KEY: Final = "AKIACANARYACCESSKEY1"
SECRET_KEY: Final = "canary-secret-access-key"
REGION: Final = "eu-central-1"
RIGHTS: Final = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket", "s3:AbortMultipartUpload")


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 (werkzeug's)
        """Say nothing."""


class S3Server:
    """One server, with TLS if it is given a context. Whoever comes is let in, unless a test asks for accounts."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.refusals = 0  # of the next requests, so many are answered "slow down"
        self.requests: Counter[str] = Counter()  # that came, by method
        self._context = context
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """What `[service] blobs_endpoint` would hold."""
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; what was stored before a stop is there."""
        if self._server is not None:
            return
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", self.port, self._answer, threaded=True, request_handler=_Quiet, ssl_context=self._context
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections; those that are open have had their answer."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None

    def _answer(self, environ: "WSGIEnvironment", start: "StartResponse") -> "Iterable[bytes]":
        self.requests[environ["REQUEST_METHOD"]] += 1
        if self.refusals:
            self.refusals -= 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        answer: Iterable[bytes] = self._app(environ, start)
        return answer

    def add_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        _backend().create_bucket(name, REGION)

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it."""
        for key in list(_backend().buckets[name].keys):
            del _backend().buckets[name].keys[key]
        _backend().delete_bucket(name)

    def keys(self, bucket: str) -> list[str]:
        """Return the names of all objects."""
        return sorted(_backend().buckets[bucket].keys)

    def drop(self, bucket: str) -> None:
        """Lose all objects of a bucket."""
        for key in self.keys(bucket):
            _backend().delete_object(bucket, key)

    def unfinished(self, bucket: str) -> int:
        """Return how many uploads were begun and neither completed nor taken back."""
        return len(_backend().buckets[bucket].multiparts)

    def age(self, bucket: str, key: str, seconds: int) -> None:
        """Have an object stored so long ago."""
        _backend().buckets[bucket].keys[key].last_modified -= timedelta(seconds=seconds)

    @contextmanager
    def accounts(self, *rights: str) -> Iterator[None]:
        """Let in just one account, ACCESS_KEY with SECRET_KEY, and let it do just this."""
        iam = get_backend("iam")[DEFAULT_ACCOUNT_ID]["aws"]
        user = iam.create_user(region_name=REGION, user_name="pps")
        key = iam.create_access_key("pps")
        key.access_key_id, key.secret_access_key = ACCESS_KEY, SECRET_KEY
        statement = {"Effect": "Allow", "Action": list(rights), "Resource": "*"}
        iam.put_user_policy("pps", "rights", json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        before, settings.INITIAL_NO_AUTH_ACTION_COUNT = settings.INITIAL_NO_AUTH_ACTION_COUNT, 0
        try:
            yield
        finally:
            settings.INITIAL_NO_AUTH_ACTION_COUNT = before
            user.access_keys.clear()
            iam.delete_user_policy("pps", "rights")
            iam.delete_user("pps")


def _backend() -> Any:  # noqa: ANN401 (moto's own class has no types for what is used)
    return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
