"""What of a getmailrc is not carried over: for each option why, and what to do instead."""

from typing import Final

_NO_IMAP: Final = ("it is for IMAP", "nothing")
_LOG: Final = ("PPS writes one log of JSON lines", "set `log` in [service], and read it with `pps log`")

REMARKS: Final[dict[str, tuple[str, str]]] = {
    "delete_dup_msgids": ("PPS never deletes what it didn't deliver", "copies of one mail share their deliveries"),
    "ssl_version": ("PPS takes TLS 1.2 or newer", "nothing"),
    "ssl_ciphers": ("PPS takes OpenSSL's defaults", "nothing"),
    "ssl_cert_hostname": ("the certificate must be the host's", "name the host in `server` as its certificate does"),
    "mailboxes": _NO_IMAP,
    "use_peek": _NO_IMAP,
    "move_on_delete": _NO_IMAP,
    "use_cram_md5": _NO_IMAP,
    "use_kerberos": _NO_IMAP,
    "delete_bigger_than": ("PPS has no such rule: a mail is deleted by one", "see `keep`"),
    "message_log": _LOG,
    "message_log_syslog": _LOG,
    "message_log_verbose": _LOG,
    "logfile": _LOG,
    "use_netrc": ("PPS doesn't read ~/.netrc", "put the password where `password` says"),
    "netrc_file": ("PPS doesn't read ~/.netrc", "put the password where `password` says"),
    "fingerprint": ("PPS adds no such field", "nothing"),
    "mark_read": _NO_IMAP,
    "skip_imap_fetch_size": _NO_IMAP,
    "only_oldmail_file": ("PPS keeps what it knows in its ledger", "nothing"),
    "to_oldmail_on_each_mail": ("PPS keeps what it knows in its ledger", "nothing"),
}

UNREMARKABLE: Final = frozenset(
    {
        "type", "server", "port", "username", "password", "password_command", "timeout", "use_xoauth2", "use_apop",
        "envelope_recipient", "ca_certs", "ssl_fingerprints", "certfile", "keyfile",
        "verbose", "read_all", "delete", "delete_after", "max_message_size",
        "max_messages_per_session", "max_bytes_per_session", "delivered_to", "received",
    }
)  # fmt: skip
"""What is carried over, or what PPS needs no word for."""
