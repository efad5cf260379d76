"""The `[notices]` section of pps.toml: who is told of what needs a person, by which way, and how often."""

from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from common.addresses import local_user
from common.key_form import WHOLE
from common.profile import Interval, Name

RECEIVERS: Final = ("postmaster", "local_user")
"""Who may get a notice, besides an address."""


class Notices(BaseModel):
    """The `[notices]` section: who is told of what needs a person."""

    model_config = WHOLE

    to: str = Field(
        default="",
        description='Who gets a mail: "postmaster" (of the profile\'s first domain), "local_user", or an address.',
    )
    target: Name | None = Field(default=None, description="The target that takes it; else the profile's own.")
    webhook: str | None = Field(
        default=None, repr=False, description="Where JSON is posted: https://…, or http:// on this machine."
    )
    down_after: Interval = Field(default=900, description="How long a target may take nothing before it is told of.")
    every: Interval = Field(default=900, description="Most often: what comes meanwhile comes together.")

    @field_validator("to")
    @classmethod
    def _receiver_is_known(cls, value: str) -> str:
        return value if value in {"", *RECEIVERS} else local_user(value)

    @field_validator("webhook")
    @classmethod
    def _webhook_is_safe(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if url is not None and not (
            parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and loopback))
        ):
            raise ValueError("is not https://…, or http:// on this machine")  # it may hold a token: not repeated
        return url
