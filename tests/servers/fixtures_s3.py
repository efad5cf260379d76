"""Fixtures for S3: one server for all tests, and a bucket of its own for each test that asks."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.servers.s3 import S3Server

PREFIX: Final = "mail/of-pps"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """An empty bucket."""

    server: "S3Server" = field(repr=False)
    name: str

    @property
    def service(self) -> dict[str, str]:
        """The keys of `[service]` for blobs in it, but the credentials."""
        from tests.servers.s3 import REGION  # noqa: PLC0415 (as below)

        url = f"s3://{self.name}/{PREFIX}"
        return {"blobs": url, "blobs_endpoint": self.server.endpoint, "blobs_region": REGION}

    @property
    def keys(self) -> list[str]:
        """The keys of the blobs in it."""
        return [name.removeprefix(f"{PREFIX}/") for name in self.server.keys(self.name)]

    def age(self, key: str, seconds: int) -> None:
        """Have a blob stored so long ago."""
        self.server.age(self.name, f"{PREFIX}/{key}", seconds)


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3Server"]:
    """Run an S3 server; a test that stops it starts it again (`start` is idempotent)."""
    from tests.servers.s3 import S3Server  # noqa: PLC0415 (few tests need it, and it takes a while)

    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: "S3Server", monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Make an empty bucket; credentials are in the environment, and none come from elsewhere."""
    from tests.servers.s3 import ACCESS_KEY, SECRET_KEY  # noqa: PLC0415 (as above)

    s3_server.start()
    made = Bucket(server=s3_server, name=f"pps-{next(_numbers)}")
    s3_server.add_bucket(made.name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    return made
