"""A profile with other keys, to compare with: KEY=VALUE, the value as in pps.toml or as bare text."""

import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from common.config_errors import model_complaint, nearest
from common.failures import UsageError
from common.messages import one_line
from common.profile import Profile


def changed_profile(profile: Profile, assignments: Sequence[str]) -> Profile:
    """Return the profile with these keys changed; raises UsageError that names the key."""
    changes = dict(_assignment(text) for text in assignments)
    try:
        return Profile.from_document({**profile.model_dump(mode="json"), **changes})
    except ValidationError as error:
        raise UsageError(f"--compare: {model_complaint(error, Profile)}") from error


def _assignment(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--compare: {one_line(text, 64)!r} is not KEY=VALUE")
    if key not in Profile.model_fields:
        raise UsageError(f'--compare: unknown key "{one_line(key, 64)}": {nearest(key, Profile.model_fields)}')
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
