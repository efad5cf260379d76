"""How a deliverer signs in at a target: a value that configuration and deliverer share."""

from enum import StrEnum


class TargetAuth(StrEnum):
    """A mechanism of AUTH (RFC 4954)."""

    AUTO = "auto"  # the best of those offered that take a password
    PLAIN = "plain"
    LOGIN = "login"
    CRAM_MD5 = "cram-md5"
    XOAUTH2 = "xoauth2"  # the secret is an OAuth 2 access token
