"""A getmailrc in our keys: one file is one mailbox, and becomes one draft of a profile. Pure."""

import shlex
from typing import Final

from manager.importing.drafts import POSTMASTER, Draft, Remark, name_of
from manager.importing.getmail_remarks import REMARKS, UNREMARKABLE
from manager.importing.getmail_target import target_of
from manager.importing.sections import Section, Sections, read_sections

_MULTIDROP: Final = frozenset({"MultidropPOP3Retriever", "MultidropPOP3SSLRetriever", "MultidropSDPSRetriever"})
_POP3: Final = _MULTIDROP | {
    "SimplePOP3Retriever",
    "SimplePOP3SSLRetriever",
    "BrokenUIDLPOP3Retriever",
    "BrokenUIDLPOP3SSLRetriever",
}


def read_getmailrc(source: str, *, home: str) -> tuple[list[Draft], list[Remark]]:
    """Return the draft that the file gives, and what belongs to none; `home` is what ~ stands for."""
    sections = read_sections(source)
    odd = [
        Remark(line=line, what="a line", why="it is no section, key or comment", instead="check it")
        for line in sections.odd
    ]
    retriever = sections.section("retriever")
    if retriever is None:
        return [], [*odd, Remark(line=1, what="this file", why="it has no [retriever]", instead="name a getmailrc")]
    kind = retriever.text("type")
    if kind not in _POP3:
        line = retriever.values["type"].line if "type" in retriever.values else retriever.line
        refused = Remark(
            line=line, what=f"type = {kind[:40]}", why="PPS speaks POP3 only", instead="leave it to getmail"
        )
        return [], [*odd, refused]
    draft = Draft(line=retriever.line, keys={"user": retriever.text("username")})
    draft.keys["name"] = name_of(retriever.text("username"), retriever.text("server"))
    draft.keys["server"] = _server(retriever, draft)
    _sign_in(retriever, draft)
    _encryption(retriever, draft, home)
    _recipients(retriever, sections, draft, home)
    _options(sections.section("options") or Section("options", 0), draft)
    _remarks(sections, draft)
    return [draft], odd


def _server(retriever: Section, draft: Draft) -> str:
    kind = retriever.text("type")
    if kind == "MultidropSDPSRetriever":
        line = retriever.values["type"].line
        draft.remark(
            line, f"type = {kind}", "Demon's extension is not spoken", "nothing: recipients come from To and Cc"
        )
    host, tls = retriever.text("server"), "SSL" in kind
    port = retriever.text("port") or ("995" if tls else "110")
    return f"{f'[{host}]' if ':' in host else host} {port}{'s' if tls else ''}"


def _sign_in(retriever: Section, draft: Draft) -> None:
    password, command = retriever.values.get("password"), retriever.values.get("password_command")
    if command and command.texts:
        draft.keys["password"] = f"command:{shlex.join(command.texts)}"
        draft.remark(
            command.line, "password_command", "PPS takes one line of what it prints", "make it print just the password"
        )
    elif password:
        draft.keep_password(password.text, password.line)
    else:
        draft.remark(
            retriever.line, "password", "getmail asks for it, a keyring, or ~/.netrc", "put it where `password` says"
        )
    if "use_xoauth2" in retriever.values and retriever.values["use_xoauth2"].on:
        draft.keys["auth"] = "xoauth2"
    elif "use_apop" in retriever.values and retriever.values["use_apop"].on:
        draft.keys["auth"] = "apop"


def _encryption(retriever: Section, draft: Draft, home: str) -> None:
    if "SSL" not in retriever.text("type"):
        draft.remark(
            retriever.line,
            "no encryption",
            "getmail sends the password in clear here, and PPS takes STLS or refuses",
            'set tls = "none" if the server has no encryption',
        )
        return
    for ours, theirs in (("ca", "ca_certs"), ("client_cert", "certfile"), ("client_key", "keyfile")):
        draft.keys[ours] = _at_home(retriever.text(theirs), home)
    pinned = retriever.values.get("ssl_fingerprints")
    draft.keys["fingerprint"] = pinned.texts if pinned else []
    if not draft.keys["ca"] and not draft.keys["fingerprint"]:
        draft.remark(
            retriever.line,
            "ca_certs",
            "without it getmail takes any certificate, and PPS verifies",
            "set `ca` or `fingerprint` if the server's is of an authority of its own",
        )


def _recipients(retriever: Section, sections: Sections, draft: Draft, home: str) -> None:
    target, chosen = target_of(sections, draft, home)
    draft.target = target
    user = retriever.text("username").strip()
    local, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
    draft.keys["local_user"] = chosen or local or POSTMASTER
    if retriever.text("type") in _MULTIDROP:
        _distribute(retriever, draft, domain=domain, fallback=chosen)
    elif not chosen:
        draft.remark(
            retriever.line,
            "[destination]",
            "getmail has no local users, and PPS hands each mail to one",
            "check `local_user`",
        )


def _distribute(retriever: Section, draft: Draft, *, domain: str, fallback: str | None) -> None:
    if not domain:
        draft.hold(
            retriever.line,
            "multidrop",
            "a getmailrc doesn't name the local domains",
            "set `local_domain` and distribute",
        )
        return
    draft.keys |= {"local_domain": [domain], "distribute": True, "local_user": fallback or POSTMASTER}
    draft.remark(retriever.line, "multidrop", "a getmailrc doesn't name the local domains", "check `local_domain`")
    field, _, place = retriever.text("envelope_recipient").partition(":")
    draft.keys["envelope"] = [f"{field}:{place}" if place.isdigit() and place != "1" else field]
    if field.strip() == "":
        del draft.keys["envelope"]


def _options(options: Section, draft: Draft) -> None:
    """What getmail does without a word: it keeps mail on the server."""
    values = options.values
    delete = "delete" in values and values["delete"].on
    days = values["delete_after"].number if "delete_after" in values else 0
    draft.keys["keep"] = f"{days}d" if days and not delete else (True if not delete else None)
    if not delete and not days:
        draft.remark(
            options.line or draft.line,
            "delete",
            "without it getmail keeps mail on the server",
            "keep = true says the same",
        )
    if "max_message_size" in values and values["max_message_size"].number:
        draft.keys["max_size"] = values["max_message_size"].number
    if "received" in values and not values["received"].on:
        draft.target["received"] = False
    if "read_all" in values and not values["read_all"].on:
        return
    if draft.keys["keep"]:
        draft.remark(
            options.line or draft.line,
            "oldmail file",
            "what getmail has seen is not read",
            "the first poll fetches all that is on the server: see docs/from-getmail.md",
        )


def _remarks(sections: Sections, draft: Draft) -> None:
    for section in sections.found.values():
        if section.name.startswith("filter"):
            draft.remark(section.line, f"[{section.name[:40]}]", "PPS filters no mail", "use Sieve at the mail server")
        if section.name not in {"retriever", "options"}:
            continue
        for key, value in section.values.items():
            if key in REMARKS and not _is_off(value.text):
                draft.remark(value.line, key, *REMARKS[key])
            elif key not in REMARKS and key not in UNREMARKABLE:
                draft.remark(value.line, key[:40], "getmail's manual has no such option", "check it")


def _is_off(text: str) -> bool:
    return text.lower() in {"", "0", "no", "false", "off", "none", "()"}


def _at_home(path: str, home: str) -> str:
    return f"{home}{path[1:]}" if path.startswith("~/") else path
