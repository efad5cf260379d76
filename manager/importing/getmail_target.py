"""Where getmail puts mail, as a target's keys; and the local user, where the destination names one."""

from typing import Any, Final

from manager.importing.drafts import DEFAULT_TARGET, Draft
from manager.importing.sections import Section, Sections, Value

_OTHERS: Final = {
    "Mboxrd": ("PPS writes no mbox files", "deliver to your mail server over LMTP, or into a Maildir"),
    "MDA_external": ("PPS starts no program for a mail", "deliver to your mail server over LMTP, and let Sieve sort"),
    "MDA_qmaillocal": ("PPS starts no program for a mail", "deliver over SMTP to qmail, or into a Maildir"),
    "MultiGuesser": ("PPS guesses by no header but To and Cc", "set distribute and local_domain"),
}
_DEPTH: Final = 5
"""Destinations that name destinations: a circle of them ends here."""


def target_of(sections: Sections, draft: Draft, home: str) -> tuple[dict[str, Any], str | None]:
    """Return the target's keys, and the local user if the destination names one."""
    return _target(sections, sections.section("destination"), draft, home, _DEPTH)


def _target(
    sections: Sections, section: Section | None, draft: Draft, home: str, depth: int
) -> tuple[dict[str, Any], str | None]:
    nowhere = ({"url": DEFAULT_TARGET}, None)
    if section is None or depth == 0:
        draft.hold(draft.line, "[destination]", "there is none that PPS can serve", "set the target's URL")
        return nowhere
    kind = section.text("type")
    line = section.values["type"].line if "type" in section.values else section.line
    match kind:
        case "Maildir":
            return _maildir(section, draft, home)
        case "MDA_lmtp":
            return _lmtp(section), section.text("override") or section.text("fallback") or None
        case "MultiDestination" | "MultiSorter":
            return _first(sections, section, draft, home, depth)
        case _:
            why = ("PPS has no such target", "set the target's URL")
            draft.hold(line, f"type = {kind[:40]}", *_OTHERS.get(kind, why))
            return nowhere


def _maildir(section: Section, draft: Draft, home: str) -> tuple[dict[str, Any], str | None]:
    path = section.text("path").rstrip("/")
    path = f"{home}{path[1:]}" if path.startswith("~") and path[1:2] in {"", "/"} else path
    user = section.text("user") or None
    for key in ("user", "filemode"):
        if key in section.values:
            draft.remark(
                section.values[key].line,
                key,
                "PPS writes files as the user it runs as",
                "run it as the Maildir's owner",
            )
    return {"url": f"maildir:{path}"}, user


def _lmtp(section: Section) -> dict[str, Any]:
    host, port = section.text("host"), section.text("port") or "24"
    if host.startswith("/"):
        return {"url": f"lmtp+unix:{host}"}
    return {"url": f"lmtp://{f'[{host}]' if ':' in host else host}:{port}"}


def _first(
    sections: Sections, section: Section, draft: Draft, home: str, depth: int
) -> tuple[dict[str, Any], str | None]:
    """Return the one of several destinations that PPS can serve: the default, else the first."""
    several = section.text("type") == "MultiDestination"
    if several:
        draft.hold(
            section.line, "MultiDestination", "a profile has one target, here the first", "copy at the mail server"
        )
    else:
        draft.hold(section.line, "MultiSorter", "PPS sorts by no patterns", "see `aliases`, or sort at the mail server")
    value = section.values.get("destinations" if several else "default")
    name = (value.texts[:1] or [value.text])[0] if value else ""
    if name.startswith(("/", "~")) and name.endswith("/"):
        return _maildir(Section(name, section.line, {"path": Value(name, section.line)}), draft, home)
    return _target(sections, sections.section(name) if name.startswith("[") else None, draft, home, depth - 1)
