"""A profile in the making: what another collector's entry says in our keys, and what of it had to be left out.

Whatever an entry holds, what becomes of it passes the models that check pps.toml: a value that they refuse is left out
with their reason, and an entry without its most needful keys becomes no profile.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from common.config_errors import model_complaint
from common.messages import one_line
from common.profile import Profile
from common.secrets import MAX_SECRET, Secret
from common.target_settings import TargetSettings

DEFAULT_TARGET: Final = "lmtp://127.0.0.1:24"
POSTMASTER: Final = "postmaster"

_SAFE: Final = {"local_user": POSTMASTER, "keep": True}
"""What a value that is refused becomes: mail that was to stay on the server must not be deleted for it."""

_MAX_NAME: Final = 56  # of 64: room for a number


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that is not carried over as it stood, why, and what to do instead."""

    line: int
    what: str
    why: str
    instead: str
    path: str = ""

    def __str__(self) -> str:
        return one_line(f"{self.path}: line {self.line}: {self.what}: {self.why}: {self.instead}", 500)


@dataclass(slots=True, kw_only=True)
class Draft:
    """One profile in the making, with its target. A typed password is never among the keys."""

    line: int
    keys: dict[str, Any]
    target: dict[str, Any] = field(default_factory=lambda: {"url": DEFAULT_TARGET})
    password: Secret | None = None
    remarks: list[Remark] = field(default_factory=list)
    path: str = ""

    def is_of(self, path: str) -> None:
        """Say which file it came from."""
        self.path = path
        self.remarks = [replace(remark, path=path) for remark in self.remarks]

    def remark(self, line: int, what: str, why: str, instead: str) -> None:
        """Say that something is not carried over."""
        self.remarks.append(Remark(path=self.path, line=line, what=what, why=why, instead=instead))

    def hold(self, line: int, what: str, why: str, instead: str) -> None:
        """Say that this would change where mail goes, and leave the profile switched off until a person has decided."""
        self.remark(line, what, why, f"{instead}, then remove enabled = false")
        self.keys["enabled"] = False

    def fit(self) -> bool:
        """Leave out what the models refuse; return whether a profile came of it."""
        self.keys = {key: value for key, value in self.keys.items() if value not in (None, "", (), [], {})}
        stand_ins = {"name": "x", "password": "env:X", "target": "local"}
        kept = self._fitted(Profile, {**stand_ins, **self.keys})
        if kept is None:
            return False
        self.keys = {key: value for key, value in kept.items() if key in self.keys}
        self.target = self._fitted(TargetSettings, self.target) or {"url": DEFAULT_TARGET}
        return True

    def keep_password(self, typed: str, line: int) -> None:
        """Hold a typed password, if it can be one."""
        if 0 < len(typed.encode(errors="replace")) <= MAX_SECRET and not set(typed) & set("\r\n\0"):
            self.password = Secret(typed)
        else:
            self.remark(line, "password", "it is empty or holds a line break", "put the password where `password` says")

    def _fitted(self, model: type[BaseModel], table: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the table without what the model refuses; None where a needful key would be missing."""
        left = dict(table)
        for _ in range(len(left) + 1):
            try:
                model.model_validate(left)
            except ValidationError as error:
                if not self._leave_out(model, left, error):
                    return None
            else:
                return left
        return None

    def _leave_out(self, model: type[BaseModel], left: dict[str, Any], error: ValidationError) -> bool:
        """Take the first wrong key away, or give it its safe value; return False where that can't be done."""
        complaint = model_complaint(error, model)
        wrong = _wrong_key(error, left) or next(
            (key for key in re.findall(r"[a-z_]+", complaint) if _may_go(model, left, key)), None
        )  # keys that contradict each other: the first that the complaint names
        if wrong is None or not (_may_go(model, left, wrong) or wrong in _SAFE):
            self.remark(self.line, "this entry", complaint, "write a [[profile]] for it by hand")
            return False
        if wrong not in model.model_fields:
            complaint = "this version of PPS has no such key"
        if wrong in _SAFE and left[wrong] != _SAFE[wrong]:
            self.remark(self.line, wrong, complaint, f"check `{wrong}`")
            left[wrong] = _SAFE[wrong]
            return True
        self.remark(self.line, wrong, complaint, "see docs/configuration.md")
        del left[wrong]
        return True


def _wrong_key(error: ValidationError, table: Mapping[str, Any]) -> str | None:
    """Return the key that `model_complaint` tells of; None where it is several together."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    key = str(first["loc"][0]) if first["loc"] else None
    return key if key in table else None


def _may_go(model: type[BaseModel], table: Mapping[str, Any], key: str) -> bool:
    return key in table and (key not in model.model_fields or not model.model_fields[key].is_required())


def name_of(user: str, host: str) -> str:
    """Return a profile's name: the account's, with the server's where the account has no domain."""
    account = user if "@" in user else f"{user}-{host}"
    words = re.sub(r"[^A-Za-z0-9]+", "-", account).strip("-").lower()
    return words[:_MAX_NAME].strip("-") or "mailbox"
