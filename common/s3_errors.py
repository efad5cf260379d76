"""What a store that speaks S3 said, as one line that names the key or variable and the mend. Pure.

Only the error's code and class are looked at: the rest of an answer may hold what must not be shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

RIGHTS: Final = "s3:PutObject, s3:GetObject and s3:DeleteObject on its objects and s3:ListBucket on the bucket"

_CODE: Final = re.compile(r"(?:<Code>|\(code: )([A-Za-z0-9.]{1,64})[<)]")
_STATUS: Final = re.compile(r"status code: (\d{3})")

_REASONS: Final = (
    ("ConnectionRefused", "the connection is refused"),
    ("dns error", "its name isn't known"),
    ("failed to lookup", "its name isn't known"),
    ("InvalidCertificate", "its certificate isn't trusted: name its issuer's in blobs_ca"),
    ("InvalidContentType", "it doesn't speak TLS: is it http://?"),
    ("TimedOut", "it doesn't answer in time"),
    ("timed out", "it doesn't answer in time"),
)
"""What stands in the text of an error below HTTP, and what is said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """Where a store is, for complaints."""

    bucket: str
    endpoint: str

    def __str__(self) -> str:
        return f"the bucket {self.bucket} at {self.endpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What is wrong: `lasting` is what stays until a person mends it, `away` what all requests would meet for now."""

    text: str
    lasting: bool
    away: bool = False


def code_of(error: Exception) -> str:
    """Return the code that the store gave, such as NoSuchKey; "" where there is none."""
    found = _CODE.search(str(error))
    return found.group(1) if found else ""


def complaint_of(error: Exception, place: S3Place, action: str) -> Complaint:
    """Return what to tell of a request that failed; `action` is the right that it needs, such as s3:PutObject."""
    code, text = code_of(error), str(error)
    status = _STATUS.search(text)
    lasting = _lasting(place, action).get(code)
    if lasting is not None:
        return Complaint(text=f"[service] {lasting}", lasting=True)
    if status is None and "/latest/" in text:  # the metadata of a cloud's machine is the last place looked at
        return Complaint(text=f"[service] {_NO_CREDENTIALS}", lasting=True)
    if status is not None and status.group(1) in {"401", "403"}:
        return Complaint(text=f"[service] {_denied(place, action)}", lasting=True)
    if status is not None:
        said = f"{status.group(1)} {code}".strip()
        kind = status.group(1)[0]
        return Complaint(text=f"[service] blobs: {place} answers {said}", lasting=kind == "3", away=kind == "5")
    reason = next((said for word, said in _REASONS if word in text), "no answer")
    return Complaint(text=f"[service] blobs: {place} can't be reached: {reason}", lasting=False, away=True)


_NO_CREDENTIALS: Final = (
    "blobs_access_key: there are no credentials: set it and blobs_secret_key, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)


def _denied(place: S3Place, action: str) -> str:
    return f"blobs: {place} refuses {action}: allow the access key {RIGHTS}"


def _lasting(place: S3Place, action: str) -> Mapping[str, str]:
    region = f"blobs_region: {place} is in another region: name that one, or set AWS_REGION"
    token = "blobs_access_key: the session token isn't valid any more: renew AWS_SESSION_TOKEN"  # noqa: S105 (no secret)
    return {
        "NoSuchBucket": f"blobs: there is no bucket {place.bucket} at {place.endpoint}: make it, or name another",
        "InvalidBucketName": f"blobs: {place.bucket} is no bucket's name at {place.endpoint}: name another",
        "InvalidAccessKeyId": f"blobs_access_key: {place.endpoint} knows no such access key: mend it, or set "
        "AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "blobs_secret_key: isn't the secret of this access key: mend it, or set "
        "AWS_SECRET_ACCESS_KEY",
        "AccessDenied": _denied(place, action),
        "PermanentRedirect": region,
        "AuthorizationHeaderMalformed": region,
        "ExpiredToken": token,
        "InvalidToken": token,
        "RequestTimeTooSkewed": f"blobs: {place.endpoint} says that this machine's clock is wrong: set it",
    }
