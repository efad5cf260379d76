"""Where fetchmail hands mail on, as a target's keys."""

from typing import Any, Final

from manager.importing.drafts import Draft
from manager.importing.entries import Option

_SMTP: Final = "smtp://127.0.0.1:25"
_LOCAL: Final = frozenset({"localhost", "127.0.0.1"})


def target_of(smtphost: Option | None, *, lmtp: bool, draft: Draft) -> dict[str, Any]:
    """Return the target that the first of fetchmail's hosts is; the others are remarked upon."""
    hosts = smtphost.values if smtphost else ()
    if not hosts:
        if lmtp:
            draft.remark(draft.line, "lmtp", "fetchmail has no default port for it", "check the target's URL")
        return {"url": "lmtp://127.0.0.1:24" if lmtp else _SMTP}
    if len(hosts) > 1 and smtphost:
        draft.remark(smtphost.line, "smtphost", "a target is one server", "only the first is kept: mail waits for it")
    host, _, port = hosts[0].partition("/") if not hosts[0].startswith("/") else (hosts[0], "", "")
    if host.startswith("/"):
        return {"url": f"lmtp+unix:{host}"}
    scheme = "lmtp" if lmtp else "smtp"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    if not lmtp and host not in _LOCAL:
        draft.remark(
            smtphost.line if smtphost else draft.line,
            "smtphost",
            "PPS hands mail to another machine only by STARTTLS",
            'set tls = "none" in its [target.NAME] if that server has none',
        )
    return {"url": url}
