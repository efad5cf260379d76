"""Settings that come from options instead of a file: what `pps pull --server …` and `pps explain` are given.

They pass the same checks as the file's, and a complaint names the option instead of the key.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from common.config import Config, Service, anchored_profile
from common.config_errors import model_complaint
from common.failures import UsageError
from common.profile import Profile
from common.routing_policy import RoutingPolicy
from common.secrets import KINDS, REFERENCE
from common.target_settings import TargetSettings

NAME: Final = "pull"

_NOWHERE: Final = {"name": "explain", "server": "localhost 110", "user": "nobody", "password": "env:NONE"}
_OPTIONS: Final = {"url": "--to", "ledger": "--state", "target": "--to"}
"""Options that are not called as the key is."""

_KEY: Final = re.compile(r"\b(?P<key>[a-z]+(?:_[a-z]+)+|[a-z]+(?= =))(?: =(?: true)?)?")
"""A key in a complaint that sets it against another: "tls = ", "distribute = true", "local_domain"."""

M = TypeVar("M", bound=BaseModel)


def routing_policy(local_user: str, local_domains: list[str]) -> RoutingPolicy:
    """Return the policy that these options give: with a domain, mail is distributed. Raises UsageError."""
    local = {"local_user": local_user, "local_domain": local_domains, "distribute": bool(local_domains)}
    return _checked(Profile, _NOWHERE | local).policy


def adhoc_config(profile: Mapping[str, Any], *, to: str, state: str | None, current: Path) -> Config:
    """Return a configuration of one profile and one target, whose ledger, blobs and log are kept from pull to pull.

    The target is named after its URL, so that mail which waits for one target never goes to another; the profile after
    its mailbox, so that one mailbox's leftovers don't count as another's. Raises UsageError; nothing is written before
    all is checked, and then only the folder of the state is made.
    """
    target = _checked(TargetSettings, {"url": to}).anchored(current)
    if re.fullmatch(REFERENCE, str(profile.get("password"))) is None:  # nothing is typed and stored here
        raise UsageError(f"--password: is a reference, never the secret itself: {KINDS}")
    target_name = f"{NAME}-{hashlib.sha256(target.url.encode()).hexdigest()[:8]}"
    whole = anchored_profile(_checked(Profile, {**profile, "name": NAME, "target": target_name}), current)
    named = whole.model_copy(update={"name": f"{NAME}-{whole.mailbox[:8]}"})
    service = _service(state, current)
    return Config(service=service, targets={target_name: target}, profiles=(named,), path=current / "pull")


def _service(state: str | None, current: Path) -> Service:
    folder = state_folder()
    if state is None:
        state = f"sqlite:///{folder}/pull.db"
    elif ":" not in state:
        state = f"sqlite:///{state}"  # a path is meant as one
    service = _checked(Service, {"ledger": state}).anchored(current)
    if service.ledger.startswith("sqlite:///"):
        folder = Path(service.ledger.removeprefix("sqlite:///")).parent
    beside = {"blobs": f"file:{folder}/blobs", "log": f"{folder}/pull.log", "key": f"file:{folder}/pull.key"}
    _make(folder)
    return service.model_copy(update=beside)


def state_folder() -> Path:
    """Return where pulls without a file keep their state (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_STATE_HOME", "")
    home = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    return home / "pps"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--state: can't make {folder}: {error.strerror}") from error


def checked(model: type[M], table: Mapping[str, Any], option: Callable[[str], str]) -> M:
    """Return the checked settings; raises UsageError that names the option instead of the key."""
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        raise UsageError(_as_option(model_complaint(error, model), option)) from error


def _checked(model: type[M], table: Mapping[str, Any]) -> M:
    return checked(model, table, _option)


def _as_option(complaint: str, option: Callable[[str], str]) -> str:
    """Begin with "--local-domain:" what begins with "local_domain:", and write `--keep` for `keep = true`."""
    key, separator, rest = complaint.partition(":")
    if separator and key.isidentifier():
        return f"{option(key)}:{rest}"
    return _KEY.sub(lambda match: option(match["key"]), complaint)


def _option(key: str) -> str:
    return _OPTIONS.get(key, "--" + key.replace("_", "-"))
