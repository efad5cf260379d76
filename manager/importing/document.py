"""The pps.toml that drafts make together: names, targets and passwords given out, and all of it written down. Pure."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from common.secrets import Secret
from common.server import parse_server
from manager.importing.drafts import Draft, Remark

PASSWORDS: Final = "passwords"

_ORDER: Final = ("name", "enabled", "server", "user", "password", "local_domain", "local_user", "distribute")
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60}
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True, kw_only=True)
class Document:
    """What is to be written: the configuration, and the passwords by the names of their files."""

    text: str
    profiles: int
    passwords: dict[str, Secret] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def document(drafts: Iterable[Draft], remarks: Sequence[Remark], *, with_files: bool) -> Document:
    """Make one configuration of all drafts; typed passwords go into files only where files are written."""
    made = Document(text="", profiles=0)
    kept = []
    for draft in drafts:
        if draft.fit():
            kept.append(draft)
        made.remarks += draft.remarks
    made.remarks += remarks
    made.profiles = len(kept)
    targets = _targets(kept)
    _unite(kept, targets, made, with_files=with_files)
    made.remarks = sorted(dict.fromkeys(made.remarks), key=lambda remark: (remark.path, remark.line))
    made.text = "\n".join(_lines(kept, targets))
    return made


def _targets(drafts: list[Draft]) -> dict[str, dict[str, Any]]:
    """Return the different targets by name; without one, mail goes where a mail server usually takes it."""
    different: list[dict[str, Any]] = []
    for draft in drafts:
        if draft.target not in different:
            different.append(draft.target)
    found = different or [{"url": "lmtp://127.0.0.1:24"}]
    return {"local" if number == 1 else f"local-{number}": target for number, target in enumerate(found, start=1)}


def _unite(drafts: list[Draft], targets: dict[str, dict[str, Any]], made: Document, *, with_files: bool) -> None:
    names: dict[str, int] = {}
    mailboxes: set[tuple[str, str]] = set()
    for draft in drafts:
        keys = draft.keys
        keys["name"] = _unused(str(keys["name"]), names)
        keys["target"] = next(name for name, target in targets.items() if target == draft.target)
        if keys["target"] == "local":
            del keys["target"]
        _give_password(draft, made, with_files=with_files)
        mailbox = (parse_server(keys["server"]).host, str(keys["user"]))
        if keys.get("enabled", True) and mailbox in mailboxes:
            keys["enabled"] = False
            made.remarks.append(
                Remark(
                    path=draft.path,
                    line=draft.line,
                    what="this mailbox",
                    why="another entry has it already, and two profiles would take each other's mail",
                    instead="it is written with enabled = false",
                )
            )
        if keys.get("enabled", True):
            mailboxes.add(mailbox)


def _unused(name: str, names: dict[str, int]) -> str:
    """Return the name, or where it is taken, the name with the next number; `names` holds the last ones."""
    wanted = name
    while wanted in names:
        names[name] += 1
        wanted = f"{name}-{names[name]}"
    names[wanted] = 1
    return wanted


def _give_password(draft: Draft, made: Document, *, with_files: bool) -> None:
    name = draft.keys["name"]
    if draft.password and with_files:
        made.passwords[name] = draft.password
        draft.keys["password"] = f"file:{PASSWORDS}/{name}"
    else:
        draft.keys.setdefault("password", f"env:{name.upper().replace('-', '_')}_PASSWORD")


def _lines(drafts: list[Draft], targets: dict[str, dict[str, Any]]) -> Iterable[str]:
    yield "# Made by `pps import`: read it before you use it. What every key says: docs/configuration.md."
    yield ""
    yield "[service]"
    yield 'ledger = "sqlite:///pps.db"'
    yield 'log = "pop3.log"'
    for name, target in targets.items():
        yield ""
        yield f"[target.{name}]"
        yield from (f"{key} = {_toml(key, value)}" for key, value in target.items())
    for draft in drafts:
        yield ""
        yield f"# {re.sub(r'[^ -~]', '?', draft.path)}, line {draft.line}"
        yield "[[profile]]"
        ordered = sorted(
            draft.keys.items(), key=lambda pair: _ORDER.index(pair[0]) if pair[0] in _ORDER else len(_ORDER)
        )
        yield from (f"{key} = {_toml(key, value)}" for key, value in ordered)
    yield ""


def _toml(key: str, value: Any) -> str:  # noqa: ANN401 (whatever a key takes)
    match value:
        case bool():
            return str(value).lower()
        case int() if key == "interval":
            return json.dumps(_time(value))
        case int():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(_toml('', item) for item in value)}]"
        case dict():
            pairs = (
                f"{name if _BARE.fullmatch(name) else _text(name)} = {_toml('', item)}" for name, item in value.items()
            )
            return f"{{ {', '.join(pairs)} }}"
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    """Return a basic string of TOML: JSON's, but that DEL is escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _time(seconds: int) -> str:
    unit, size = next(((unit, size) for unit, size in _UNITS.items() if seconds % size == 0), ("s", 1))
    return f"{seconds // size}{unit}"
