"""The configuration file: what pps.toml may hold, and how it is read and checked. The one home of its keys.

The keys of `[[profile]]` live in `common/profile.py`. Nothing is opened, resolved or connected to here.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeVar
from urllib.parse import quote, unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from common.broker_keys import AUTO, BrokerApi
from common.circles import check_circles
from common.config_errors import meant, model_complaint, nearest, toml_complaint
from common.failures import UsageError
from common.http_place import checked_http
from common.key_form import PART, WHOLE, Form
from common.messages import one_line
from common.notice_settings import Notices
from common.profile import PROFILE_FILES, PROFILE_SECRETS, Name, Profile
from common.retention import USUAL, Retention
from common.s3_address import EXAMPLE as S3_EXAMPLE
from common.s3_address import S3Keys, parse_s3
from common.secrets import KINDS, is_reference
from common.server_keys import Reference
from common.target_settings import TargetSettings, anchored_after, shown_scheme
from common.target_url import QUARANTINE, refused_target

MAX_FILE: Final = 16 * 1024 * 1024
"""Octets of a configuration: 100,000 profiles fit; what is larger is the wrong file."""

MANAGED_BY_FILE: Final = "file"
"""Who wrote a profile into the ledger: the configuration file."""

M = TypeVar("M", bound=BaseModel)

_SECTIONS: Final = ("[service]", "[target.NAME]", "[notices]", "[[profile]]")
_SHARED_LEDGER: Final = "postgresql://USER@HOST/DATABASE"
_SHARED_BROKER: Final = "amqp://USER:PASSWORD@HOST:5672/VHOST"


class ServiceKeys(BaseModel):
    """What all roles share, but the keys of S3."""

    model_config = PART

    ledger: str = Field(
        default="sqlite:///pps.db",
        repr=False,  # may hold a password, as may the broker's
        description="The database: sqlite:///FILE for one process, postgresql://USER@HOST/DATABASE for many.",
    )
    broker: str = Field(
        default="memory:",
        repr=False,
        description='The queues: "memory:" for one process, amqp://USER:PASSWORD@HOST:5672/VHOST for many, or where '
        f"that URL is found: {KINDS}.",
    )
    broker_api: BrokerApi = Field(
        default=AUTO,
        repr=False,
        description="RabbitMQ's management API, for `pps queues`, `pps status` and `pps doctor`; auto: the broker's "
        "hosts and user, at port 15672 (15671 with amqps://).",
    )
    blobs: str = Field(
        default="file:./blobs", description=f"Where large mails rest on their way: file:FOLDER, or {S3_EXAMPLE}."
    )
    log: str = Field(default="pop3.log", min_length=1, description='The file of JSON lines, rotated; "-" is stderr.')
    sessions: int = Field(
        default=50, strict=True, ge=1, le=1000, description="Most POP3 sessions of one fetcher process at a time."
    )
    host_sessions: int = Field(
        default=8, strict=True, ge=1, le=1000, description="Most POP3 sessions with one host, of all fetchers together."
    )
    http: Annotated[str | Mapping[str, str], BeforeValidator(checked_http), Form("text, or a table of texts")] = Field(
        default="off",
        description='Where /metrics, /live and /ready are shown: "off", HOST:PORT or HOST:FIRST-LAST, "*" for all '
        "addresses; or one for each of run, fetcher, router, deliverer.",
    )
    profile_metrics: int = Field(
        default=100, strict=True, ge=0, le=10_000, description="Most profiles that have metrics of their own, each."
    )
    retention: Retention = Field(
        default=USUAL, description="How long mails that were delivered and have left their server are remembered."
    )
    key: Reference = Field(default="file:pps.key", description="The key that typed passwords are sealed with.")

    @field_validator("ledger")
    @classmethod
    def _ledger_is_known(cls, url: str) -> str:
        scheme, _, rest = url.partition(":")
        if scheme == "sqlite" and not rest.startswith("///"):
            raise ValueError("has three slashes before a relative file, four before an absolute one: sqlite:///pps.db")
        if scheme not in {"sqlite", "postgresql"} or not rest.startswith("//") or not rest.strip("/"):
            raise ValueError(
                f"{shown_scheme(url)} is not sqlite:///FILE or {_SHARED_LEDGER}{meant(url, ('sqlite', 'postgresql'))}"
            )
        return url

    @field_validator("broker")
    @classmethod
    def _broker_is_known(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if url != "memory:" and not is_reference(url) and (scheme not in {"amqp", "amqps"} or not rest):
            mend = meant(url, ("memory", "amqp", "amqps"))
            raise ValueError(f'{shown_scheme(url)} is not "memory:" or {_SHARED_BROKER}{mend}')
        return url

    @field_validator("blobs")
    @classmethod
    def _blobs_are_known(cls, url: str) -> str:
        scheme, _, rest = url.partition(":")
        if scheme == "s3":
            parse_s3(url)
        elif scheme != "file" or not rest:
            raise ValueError(f"{shown_scheme(url)} is not file:FOLDER or {S3_EXAMPLE}{meant(url, ('file', 's3'))}")
        return url


class Service(S3Keys, ServiceKeys):  # in tables and complaints, keys of the last come first
    """The `[service]` section: what all roles share."""

    model_config = WHOLE

    @model_validator(mode="after")
    def _s3_is_meant(self) -> Self:
        if self.stray is not None and not self.blobs.startswith("s3:"):
            raise ValueError(f'{self.stray} is for blobs on S3: write blobs = "{S3_EXAMPLE}", or take it out')
        return self

    def anchored(self, base: Path) -> Self:
        """Return the section with its relative paths made absolute: they start at the file's folder."""
        changes = {
            "ledger": anchored_after("sqlite:///", self.ledger, base),
            "broker": anchored_after("file:", self.broker, base),
            "broker_api": anchored_after("file:", self.broker_api, base),
            "blobs": self._anchored_blobs(base),
            "log": self.log if self.log == "-" else str(base / self.log),
            "key": anchored_after("file:", self.key, base),
            "blobs_ca": None if self.blobs_ca is None else str(base / self.blobs_ca),
        }
        return self.model_copy(update=changes)

    def _anchored_blobs(self, base: Path) -> str:
        if self.blobs.startswith("s3:"):
            return self.blobs
        return f"file:{quote(str(base / unquote(self.blobs.removeprefix('file:'))))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A checked configuration. Every path in it is absolute, except programs of `command:`, which start at `base`."""

    service: Service
    targets: Mapping[str, TargetSettings]
    profiles: tuple[Profile, ...]
    notices: Notices = field(default_factory=Notices)
    path: Path  # as the user named it, for complaints

    @property
    def base(self) -> Path:
        """Return the folder that relative paths start at."""
        return self.path.absolute().parent

    def profile(self, name: str) -> Profile:
        """Return the profile of this name; raises UsageError that names the nearest."""
        for profile in self.profiles:
            if profile.name == name:
                return profile
        raise UsageError(
            f'{self.path}: no profile "{one_line(name, 64)}": {nearest(name, [one.name for one in self.profiles])}'
        )


def load_config(path: Path) -> Config:
    """Read and check a configuration file; raises UsageError, one line with file, section, key and mend."""
    try:
        return _checked(_read(path), path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error.__cause__


def require_shared(config: Config, role: str) -> None:
    """Raise UsageError where `role` can't be a process of its own: its ledger or broker belongs to one process."""
    if config.service.ledger.startswith("sqlite:"):
        key, mend = "ledger", f'ledger = "{_SHARED_LEDGER}" and broker = "{_SHARED_BROKER}"'
    elif config.service.broker == "memory:":
        key, mend = "broker", f'broker = "{_SHARED_BROKER}" (RabbitMQ)'
    else:
        return
    kind = "sqlite" if key == "ledger" else "memory:"
    raise UsageError(
        f"{config.path}: [service] {key}: {kind} is for `pps run`, every role in one process: `pps {role}` needs {mend}"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise UsageError("there is no such file: `pps init` writes one, --config names another") from None
    except OSError as error:
        raise UsageError(f"can't read it: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise UsageError(f"is larger than {MAX_FILE} octets: that is no configuration")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"line {line}: isn't UTF-8 text: save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(toml_complaint(error)) from None
    except RecursionError:
        raise UsageError("is nested too deeply: no key of it is") from None


def _checked(document: dict[str, Any], path: Path) -> Config:
    for section in document:
        if section not in {"service", "target", "notices", "profile"}:
            written = f"[{one_line(section, 64)}]"
            raise UsageError(f"unknown section {written}: {nearest(written, _SECTIONS)}")
    base = path.absolute().parent
    service = document.get("service", {})
    if not isinstance(service, dict):
        raise UsageError("[service] is one section, with single brackets")
    checked = _model(Service, service, "[service]").anchored(base)
    targets = _targets(document.get("target", {}), base)
    profiles = _profiles(document.get("profile", []), base)
    check_profiles(profiles, targets)
    check_circles(profiles, {name: target.url for name, target in targets.items()})
    notices = _notices(document.get("notices", {}), targets)
    return Config(service=checked, targets=targets, profiles=profiles, notices=notices, path=path)


def _notices(table: object, targets: Mapping[str, TargetSettings]) -> Notices:
    if not isinstance(table, dict):
        raise UsageError("[notices] is one section, with single brackets")
    notices = _model(Notices, table, "[notices]")
    if notices.target is not None and notices.target not in targets:
        known = nearest(notices.target, targets)
        raise UsageError(f"[notices] target: there is no [target.{notices.target}]: {known}")
    return notices


def _targets(tables: object, base: Path) -> dict[str, TargetSettings]:
    if not isinstance(tables, dict):
        raise UsageError("[target] needs a name for each target: write [target.local]")
    targets = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError("[target] needs a name for each target: write [target.local]")
        _model(_Named, {"name": name}, f"[target.{one_line(name, 64)}]")
        targets[name] = _model(TargetSettings, table, f"[target.{name}]").anchored(base)
    return targets | _bad_mail(targets)


def _bad_mail(targets: Mapping[str, TargetSettings]) -> dict[str, TargetSettings]:
    """Return the targets that `refused` implies: what refuses a mail hands it there, with a queue of its own."""
    implied = {}
    for name, target in targets.items():
        if target.refused == QUARANTINE:
            continue
        other = refused_target(name)
        if other in targets:
            raise UsageError(f"[target.{name}] refused: makes a target {other}: name [target.{other}] otherwise")
        _model(_Named, {"name": other}, f"[target.{name}] refused: its target's")
        implied[other] = TargetSettings(url=target.refused, received=target.received)
    return implied


def _profiles(tables: object, base: Path) -> tuple[Profile, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError("[profile] may be there several times: write [[profile]], with double brackets")
    profiles = []
    for number, table in enumerate(tables, start=1):
        name = table.get("name")
        place = f'[[profile]] "{one_line(name, 64)}"' if isinstance(name, str) else f"[[profile]] number {number}"
        profiles.append(anchored_profile(_model(Profile, table, place), base))
    return tuple(profiles)


def anchored_profile(profile: Profile, base: Path) -> Profile:
    """Return the profile with its relative paths made absolute: it goes into the ledger, for workers elsewhere."""
    files = {key: str(base / path) for key in PROFILE_FILES if (path := getattr(profile, key)) is not None}
    secrets = {
        key: anchored_after("file:", kept, base)
        for key in PROFILE_SECRETS
        if (kept := getattr(profile, key)) is not None
    }
    return profile.model_copy(update=files | secrets)


def check_profiles(profiles: Sequence[Profile], targets: Iterable[str]) -> None:
    """Raise UsageError for profiles that contradict each other, or name a target that isn't there."""
    names: set[str] = set()
    mailboxes: dict[str, str] = {}
    known = list(targets)
    for profile in profiles:
        place = f'[[profile]] "{profile.name}"'
        if profile.name in names:
            raise UsageError(f"{place} name: there are two profiles of this name: rename one")
        names.add(profile.name)
        if profile.target not in known:
            raise UsageError(f"{place} target: there is no [target.{profile.target}]: {nearest(profile.target, known)}")
        if profile.enabled and (other := mailboxes.setdefault(profile.mailbox, profile.name)) != profile.name:
            raise UsageError(
                f'{place} server and user are those of "{other}", and each would take the other\'s mail: '
                "set enabled = false in one"
            )


class _Named(BaseModel):
    model_config = WHOLE

    name: Name


def _model(model: type[M], table: dict[str, Any], place: str) -> M:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{place} {model_complaint(error, model)}") from error
