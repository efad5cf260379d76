"""A .fetchmailrc in our keys: each account of each server becomes a draft of a profile. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from common.profile import LONGEST_INTERVAL, SHORTEST_INTERVAL, Profile
from manager.importing.accounts import Account, accounts_of
from manager.importing.drafts import POSTMASTER, Draft, Remark, name_of
from manager.importing.entries import Entries, read_entries
from manager.importing.fetchmail_remarks import ALWAYS_SO, HELD, REMARKS
from manager.importing.fetchmail_target import target_of

_PORTS: Final = {"pop3": 110, "pop3s": 995}
_DEFAULT_INTERVAL: Final = Profile.model_fields["interval"].default
_POP3: Final = frozenset({"pop3", "apop", "auto", "sdps"})
_AUTHS: Final = {
    "password": "password",
    "any": "auto",
    "cram-md5": "cram-md5",
    "cram": "cram-md5",
    "apop": "apop",
    "oauthbearer": "oauthbearer",
    "xoauth2": "xoauth2",
}


def read_fetchmailrc(source: str, *, me: str) -> tuple[list[Draft], list[Remark]]:
    """Return a draft for each account, and what belongs to none; `me` is who would run fetchmail."""
    entries = read_entries(source)
    accounts = list(accounts_of(entries))
    drafts = [_draft(account, me) for account in accounts if _speaks_pop3(account)]
    others = [_other_protocol(account) for account in accounts if not _speaks_pop3(account)]
    return drafts, [*others, *_settings(entries), *_odd(entries)]


def _draft(account: Account, me: str) -> Draft:
    host = account.value("via") or account.server.name
    remote = next((user.remote for user in account.users() if user.remote), None)
    draft = Draft(line=account.user.line, keys={"server": None, "user": remote or me})
    if not remote:
        draft.remark(account.user.line, "user", "none is named, and fetchmail takes who runs it", "check `user`")
    draft.keys["name"] = name_of(draft.keys["user"], account.server.name)
    draft.keys["server"] = _server(account, host, draft)
    _encryption(account, draft)
    _password(account, draft)
    _recipients(account, draft, me)
    _policy(account, draft)
    draft.target = target_of(account.option("smtphost"), lmtp=account.on("lmtp"), draft=draft)
    if (invisible := account.setting("invisible")) and invisible.on:
        draft.target["received"] = False
    _remarks(account, draft)
    return draft


def _protocol(account: Account) -> tuple[str, int]:
    option = account.option("protocol")
    return ("".join(option.values[:1]).lower(), option.line) if option else ("auto", account.server.line)


def _speaks_pop3(account: Account) -> bool:
    return _protocol(account)[0] in _POP3


def _other_protocol(account: Account) -> Remark:
    spoken, line = _protocol(account)
    return Remark(
        line=line, what=f"protocol {spoken[:16]}", why="PPS speaks POP3 only", instead="leave this mailbox to fetchmail"
    )


def _server(account: Account, host: str, draft: Draft) -> str:
    spoken, line = _protocol(account)
    if spoken == "auto":
        draft.remark(
            line, "protocol", "none is set, and fetchmail tries IMAP first", "make sure that the server has POP3"
        )
    elif spoken == "sdps":
        draft.remark(
            line, "protocol sdps", "Demon's extension is not spoken", "nothing: recipients come from To and Cc"
        )
    ssl = account.on("ssl")
    service = account.value("service") or ("pop3s" if ssl else "pop3")
    port = _PORTS.get(service, service)
    return f"{f'[{host}]' if ':' in host else host} {port}{'s' if ssl else ''}"


def _encryption(account: Account, draft: Draft) -> None:
    sslproto = account.option("sslproto")
    if sslproto and not account.on("ssl"):
        draft.keys["tls"] = "none" if not "".join(sslproto.values) else "starttls"
    draft.keys["ca"] = account.value("sslcertfile")
    draft.keys["client_cert"], draft.keys["client_key"] = account.value("sslcert"), account.value("sslkey")
    check = account.option("sslcertck")
    if check and not check.on:
        draft.remark(
            check.line,
            "no sslcertck",
            "PPS always verifies certificates",
            "set `ca` or `fingerprint`: see docs/servers.md",
        )


def _password(account: Account, draft: Draft) -> None:
    typed, file = account.option("password"), account.option("passwordfile")
    if typed and typed.values:
        draft.keep_password(typed.values[0], typed.line)
    elif file and file.values:
        draft.keys["password"] = f"file:{file.values[0]}"
    else:
        draft.remark(
            account.user.line, "password", "fetchmail asks, or looks into ~/.netrc", "put it where `password` says"
        )


def _recipients(account: Account, draft: Draft, me: str) -> None:
    names = [name for user in account.users() for name in user.names]
    wildcard = any(user.wildcard for user in account.users())
    domain = account.value("smtpaddress") or "localhost"
    forced = account.value("smtpname")
    if wildcard or len(names) > 1:
        _distribute(account, draft)
        draft.keys["aliases"] = {one.theirs: [one.here] for one in names if one.theirs != one.here}
        if not wildcard and not account.all_values("localdomains"):
            draft.keys["users"] = [one.here for one in names]
        return
    here = forced or (names[0].here if names else me)
    draft.keys["local_user"] = here if "@" in here else f"{here}@{domain}"
    if not names and not forced:
        draft.remark(
            account.user.line, "is", "no local user is named, and fetchmail takes who runs it", "check `local_user`"
        )


def _distribute(account: Account, draft: Draft) -> None:
    """Multidrop: domains whose addresses count; fetchmail's own host aliases are local too."""
    domains = account.all_values("localdomains")
    if not domains:
        domains = [account.server.name, *account.all_values("aka")]
        draft.remark(
            account.server.line,
            "multidrop",
            "without `localdomains`, fetchmail takes the server's own names for local domains",
            "check `local_domain`",
        )
    draft.keys |= {"local_domain": domains, "distribute": True}
    postmaster = account.setting("postmaster")
    draft.keys["local_user"] = "".join(postmaster.values) if postmaster else POSTMASTER
    _envelope(account, draft)


def _envelope(account: Account, draft: Draft) -> None:
    envelope = account.option("envelope")
    if envelope is None:
        draft.remark(
            account.user.line,
            "envelope",
            "fetchmail reads Received by default, and PPS To and Cc",
            "see `pps explain`, and `envelope` for a field that your provider adds",
        )
    if envelope is None or not envelope.on or not envelope.values[1:]:
        return
    skipped, field = envelope.values[:2]
    if field.rstrip(":").lower() == "received":
        draft.remark(
            envelope.line,
            "envelope Received",
            "PPS believes it only of hosts that are named",
            "set envelope and `envelope_by`, or leave it to To and Cc",
        )
        return
    place = int(skipped) + 1 if skipped.isdigit() else 1
    draft.keys["envelope"] = [f"{field.rstrip(':')}:{place}" if place > 1 else field.rstrip(":")]
    draft.keys["envelope_prefix"] = account.value("qvirtual")


def _policy(account: Account, draft: Draft) -> None:
    if account.server.skipped:
        draft.keys["enabled"] = False
    if account.on("keep"):
        draft.keys["keep"] = True
    if (limit := account.value("limit") or "0").isdigit() and int(limit):
        draft.keys["max_size"] = int(limit)
    if (most := account.value("fetchlimit") or "0").isdigit() and int(most):
        draft.keys["max_mails"] = int(most)
    auth = (account.value("authenticate") or "").lower()
    if auth and auth not in _AUTHS:
        draft.remark(account.server.line, f"auth {auth[:16]}", "PPS doesn't know it", "ask for another way to sign in")
    elif auth not in {"", "any", "password"}:
        draft.keys["auth"] = _AUTHS[auth]
    if account.value("protocol") in {"apop", "APOP"}:
        draft.keys["auth"] = "apop"
    draft.keys["interval"] = _interval(account, draft)


def _interval(account: Account, draft: Draft) -> int | None:
    daemon, every = account.setting("daemon"), account.value("interval") or "1"
    said = "".join(daemon.values) if daemon else ""
    if not said.isdigit() or not int(said):
        return None
    seconds = int(said) * (int(every) if every.isdigit() and int(every) else 1)
    within = min(max(seconds, SHORTEST_INTERVAL), LONGEST_INTERVAL)
    if within != seconds:
        line = daemon.line if daemon else draft.line
        draft.remark(line, "daemon", f"{seconds} s is out of PPS's range", f"`interval` is {within} s now")
    return None if within == _DEFAULT_INTERVAL else within


def _remarks(account: Account, draft: Draft) -> None:
    seen = set()
    for option in account.options():
        if option.name in seen or (option.name, option.on) in ALWAYS_SO:
            continue
        seen.add(option.name)
        if option.on and option.name in HELD:
            draft.hold(option.line, option.name, *HELD[option.name])
        elif option.on and option.name in REMARKS:
            draft.remark(option.line, option.name, *REMARKS[option.name])


def _settings(entries: Entries) -> Iterator[Remark]:
    for option in entries.settings:
        if option.on and option.name in REMARKS:
            why, instead = REMARKS[option.name]
            yield Remark(line=option.line, what=f"set {option.name}", why=why, instead=instead)


def _odd(entries: Entries) -> Iterable[Remark]:
    for line in dict.fromkeys(word.line for word in entries.odd):
        yield Remark(
            line=line, what="a word", why="fetchmail's manual has no such option there", instead="check that entry"
        )
