"""What of a .fetchmailrc is not carried over: for each option why, and what to do instead."""

from typing import Final

_NO_CHANGE: Final = "PPS hands mail on octet for octet"
_NONE_NEEDED: Final = "nothing"
_NO_BOUNCE: Final = "PPS never bounces: mail that a target refuses waits in quarantine"
_NO_COMMANDS: Final = "PPS runs no commands around a poll"
_OWN_PACE: Final = "PPS asks for as much at a time as the server bears"
_SERVICE: Final = "it is the service manager's"

HELD: Final[dict[str, tuple[str, str]]] = {
    "mda": ("PPS starts no program for a mail", "let the target be your server's LMTP, or maildir:PATH"),
    "bsmtp": ("PPS writes no batches", "let the target be smtp://, lmtp:// or maildir:"),
}
"""What changes where mail goes: the profile stays switched off."""

REMARKS: Final[dict[str, tuple[str, str]]] = {
    "keep": (
        "what fetchmail has seen is not read",
        "the first poll fetches all that is on the server: see docs/from-fetchmail.md",
    ),
    "fetchsizelimit": (_OWN_PACE, _NONE_NEEDED),
    "batchlimit": (_OWN_PACE, _NONE_NEEDED),
    "fastuidl": (_OWN_PACE, _NONE_NEEDED),
    "expunge": ("PPS deletes each mail once it is delivered", _NONE_NEEDED),
    "timeout": ("PPS has a deadline for each answer", _NONE_NEEDED),
    "flush": ("PPS deletes only what it delivered itself", "delete old mail by hand once"),
    "limitflush": ("PPS deletes only what it delivered itself", "larger mail stays on the server"),
    "preconnect": (_NO_COMMANDS, "start a tunnel as a service of its own, and name its port in `server`"),
    "postconnect": (_NO_COMMANDS, "use a service or timer of its own"),
    "plugin": (_NO_COMMANDS, "start a tunnel as a service of its own, and name its port in `server`"),
    "plugout": (_NO_COMMANDS, "let the target's URL name a tunnel's port"),
    "interface": ("PPS doesn't watch network interfaces", "a poll that fails is tried again"),
    "monitor": ("PPS doesn't watch network interfaces", "a poll that fails is tried again"),
    "principal": ("PPS doesn't know Kerberos", "ask for another way to sign in"),
    "folder": ("POP3 has one folder", "leave other folders to an IMAP collector"),
    "idle": ("POP3 has no IDLE", "choose a short `interval`"),
    "forceidle": ("POP3 has no IDLE", "choose a short `interval`"),
    "fetchdomains": ("it is for ODMR", _NONE_NEEDED),
    "rewrite": (_NO_CHANGE, "let your mail server complete addresses"),
    "forcecr": (_NO_CHANGE, _NONE_NEEDED),
    "stripcr": (_NO_CHANGE, _NONE_NEEDED),
    "pass8bits": (_NO_CHANGE, _NONE_NEEDED),
    "mimedecode": (_NO_CHANGE, "mail readers decode"),
    "dropstatus": (_NO_CHANGE, "drop Status fields with a Sieve script"),
    "dropdelivered": (_NO_CHANGE, "drop Delivered-To fields with a Sieve script"),
    "antispam": (_NO_BOUNCE, "see `pps status`"),
    "bouncemail": (_NO_BOUNCE, "see `pps status`"),
    "spambounce": (_NO_BOUNCE, "see `pps status`"),
    "softbounce": ("what the target refuses is never deleted", _NONE_NEEDED),
    "warnings": ("PPS mails no warnings about large mail", "see `pps status`"),
    "passwordfd": ("a file descriptor is gone when the service starts", "put the password where `password` says"),
    "esmtpname": ("it is for ODMR and for an account at the SMTP server", "set `user` in [target.NAME]"),
    "esmtppassword": ("it is for ODMR and for an account at the SMTP server", "set `password` in [target.NAME]"),
    "sslcertpath": ("PPS reads certificates from one file", "set `ca` to a file that holds them"),
    "sslcommonname": ("the certificate must be the host's", "name the host in `server` as its certificate does"),
    "sslfingerprint": ("fetchmail's is an MD5 sum", "set `fingerprint`, a SHA-256: see docs/servers.md"),
    "checkalias": ("PPS asks no DNS who is local", "name every domain in `local_domain`"),
    "dns": ("PPS asks no DNS who is local", "name every domain in `local_domain`"),
    "tracepolls": ("the Received field that PPS adds names the source already", _NONE_NEEDED),
    "bad-header": ("PPS never discards mail for its header", _NONE_NEEDED),
    "retrieve-error": ("a mail that can't be retrieved is skipped, and tried again daily", _NONE_NEEDED),
    "logfile": ("PPS writes JSON lines", "set `log` in [service], and read it with `pps log`"),
    "syslog": ("PPS writes JSON lines", 'set log = "-" in [service]: systemd keeps what goes to stderr'),
    "pidfile": (_SERVICE, "see docs/service.md"),
    "showdots": (_SERVICE, "`pps pull` shows progress"),
    "idfile": ("what fetchmail has seen is not read", "see docs/from-fetchmail.md on mail that is kept on the server"),
}

ALWAYS_SO: Final = frozenset(
    {
        ("rewrite", False),
        ("stripcr", False),
        ("forcecr", False),
        ("mimedecode", False),
        ("dns", False),
        ("uidl", True),
        ("fetchall", True),  # each mail is fetched once, whatever the server calls seen
        ("sslcertck", True),
        ("properties", True),  # a note for fetchmailconf
    }
)
"""What PPS does anyway: not worth a line."""
