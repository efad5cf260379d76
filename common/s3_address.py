"""Where blobs on S3 lie, `s3://BUCKET/PREFIX`, and the keys of `[service]` that say how the store is reached. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from common.key_form import PART, Form
from common.server_keys import Reference

EXAMPLE: Final = "s3://BUCKET/PREFIX"

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""What AWS allows, and so what every other store allows, too."""

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
"""Characters that no store and no library escapes."""

_MAX_PREFIX: Final = 256

_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """A bucket, and what all keys in it begin with; "" for nothing."""

    bucket: str
    prefix: str


def parse_s3(url: str) -> S3Address:
    """Return where a URL leads; raises ValueError, whose text never repeats what may be a secret."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"isn't {EXAMPLE}; credentials have keys of their own")
    prefix = parts.path.strip("/")
    if _BUCKET.fullmatch(parts.netloc) is None:
        raise ValueError(f"names no bucket: write {EXAMPLE}; a bucket's name is 3 to 63 of a-z, 0-9, dot and hyphen")
    if prefix and (len(prefix) > _MAX_PREFIX or _PREFIX.fullmatch(prefix) is None or ".." in prefix):
        raise ValueError("has a prefix of other characters than letters, digits and - _ . / : name another")
    return S3Address(bucket=parts.netloc, prefix=prefix)


def _endpoint(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or not text.isprintable():
        raise ValueError('write it as "https://HOST" or "https://HOST:PORT"')
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("is scheme, host and port alone: the bucket stands in blobs")
    return f"{parts.scheme}://{parts.netloc}"


Endpoint = Annotated[str, BeforeValidator(_endpoint), Form("URL", "https://HOST[:PORT]")]


class S3Keys(BaseModel):
    """How a store that speaks S3 is reached; what isn't set comes from the usual AWS variables."""

    model_config = PART

    blobs_endpoint: Endpoint | None = Field(
        default=None, description="Where blobs on S3 are, if not at AWS; http:// is not encrypted."
    )
    blobs_region: str | None = Field(
        default=None, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="The bucket's region, such as eu-west-1."
    )
    blobs_access_key: Reference | None = Field(default=None, description="Where the access key's id is found.")
    blobs_secret_key: Reference | None = Field(default=None, description="Where its secret is found.")
    blobs_ca: str | None = Field(
        default=None, min_length=1, description="A file of certificates to trust for the store, besides the system's."
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.blobs_access_key is None) is not (self.blobs_secret_key is None):
            raise ValueError("blobs_access_key and blobs_secret_key go together")
        return self

    @property
    def stray(self) -> str | None:
        """Return a key that is set, if there is one: without s3:// it would mean nothing."""
        return next((key for key in S3Keys.model_fields if getattr(self, key) is not None), None)


def endpoint_of(keys: S3Keys, environment: Mapping[str, str]) -> str | None:
    """Return the endpoint that is used; None is AWS' own."""
    named = (environment.get(variable) for variable in _ENDPOINT_VARIABLES)
    return keys.blobs_endpoint or next(filter(None, named), None)
