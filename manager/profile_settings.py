"""A profile's settings from options and answers, checked as those of the file are."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from common.config import anchored_profile
from common.config_errors import nearest
from common.failures import UsageError
from common.messages import one_line
from common.profile import Profile
from common.secrets import STORED
from manager.adhoc import checked

NEEDED: Final = ("name", "server", "user", "password", "local_user")
"""What a profile can't be without."""

_ELSEWHERE: Final = {
    "name": "a profile keeps its name",
    "enabled": "`pps profile enable` and `pps profile disable` do that",
}
"""Keys that aren't set by --set."""

_ACCOUNT: Final = ("server", "user", "password", "tls", "ca", "interval", "keep")
_LOCAL: Final = ("local_user", "local_domain", "distribute", "target")
"""Keys that have an option of their own."""

_BLANK: Final = {"name": "new", "server": "localhost 110", "user": "nobody", "password": STORED, "local_user": "nobody"}


def option(key: str) -> str:
    """Return how a key is given on the command line."""
    if key == "name":
        return "NAME"
    return "--" + key.replace("_", "-") if key in {*_ACCOUNT, *_LOCAL} else f"--set {key}"


def settings(document: Mapping[str, Any], *, current: Path) -> Profile:
    """Return the profile that these keys make, its relative paths starting at `current`; raises UsageError."""
    return anchored_profile(checked(Profile, document, option), current)


def check_answer(key: str, value: object, answers: Mapping[str, Any]) -> None:
    """Raise UsageError where an answer isn't valid, beside the answers before it."""
    try:
        checked(Profile, {**_BLANK, **answers, key: value}, lambda key: key)
    except UsageError as error:
        raise UsageError(str(error).removeprefix(f"{key}: ")) from error.__cause__


def further(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the keys that `--set KEY=VALUE` gives; a value is written as in pps.toml, a text needs no quotes."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        key = key.strip()
        if not separator:
            raise UsageError("--set: write KEY=VALUE, as in pps.toml")  # what was written may be a secret
        if key not in Profile.model_fields:
            raise UsageError(f'--set: unknown key "{one_line(key, 64)}": {nearest(key, Profile.model_fields)}')
        if key in _ELSEWHERE:
            raise UsageError(f"--set {key}: {_ELSEWHERE[key]}")
        found[key] = _value(value.strip())
    return found


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
