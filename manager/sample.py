"""What `pps init` writes: a commented pps.toml that says what can be set, and a key for stored passwords."""

import os
from pathlib import Path
from typing import Final

from common.failures import UsageError
from common.secrets import make_key

CONFIG_NAME: Final = "pps.toml"
KEY_NAME: Final = "pps.key"

SAMPLE: Final = """\
# Configuration of the POP3 Pull Service. Relative paths start at this file's folder. Times take s, m, h or d.
# A password is never written here: it is a reference, env:NAME, file:PATH (chmod 600), command:COMMAND, or
# credential:NAME for one that systemd holds; or "stored": typed (`pps profile password NAME`), kept encrypted.

[service]
ledger = "sqlite:///pps.db"            # postgresql://user@host/db for more than one process
broker = "memory:"                     # amqp://user:password@host:5672/vhost (several hosts: comma-separated), or
                                       # where that is found: file:broker/fetcher.url, env:NAME, credential:NAME
# broker_api = "auto"                  # RabbitMQ's management API: http://user:password@host:15672, or "off"
blobs  = "file:./blobs"                # where large mails rest on their way; s3://bucket/prefix for several machines
log    = "pop3.log"                    # JSON lines, rotated; "-" is stderr
# sessions = 50                        # the most POP3 sessions of one process at a time
# host_sessions = 8                    # the most with one host, of all processes together
# blobs_endpoint = "https://minio.example.com:9000"  # the store, where s3:// isn't Amazon's
# blobs_region = "eu-central-1"
# blobs_access_key = "file:s3.id"      # without these two: the AWS_… variables, or the role of the machine
# blobs_secret_key = "file:s3.secret"
# blobs_ca = "store-ca.pem"            # trust these certificates, too
# http = "127.0.0.1:9400"              # /metrics, /live and /ready, on this machine alone; "*:9400": for everybody
# profile_metrics = 100                # with more profiles than these, none has metrics of its own
# retention = "90d"                    # how long delivered mails that left their server are remembered; at least 30d
key    = "file:pps.key"                # seals passwords that are typed; keep a copy of it apart from the ledger's

# A target takes mail for the local users. There may be several, each with its own name.
[target.local]
url = "lmtp://127.0.0.1:24"            # smtp:// smtps:// lmtp:// lmtp+unix:/path
                                       # maildir:/var/mail/{domain}/{user}?create=yes
# tls = "auto"                         # auto, implicit, starttls or none
# ca = "mail-server-ca.pem"            # trust these certificates instead of the system's
# received = true                      # add a Received field to each mail; false: one short line
# sender = "pps@example.com"           # one envelope sender for all mail, instead of each mail's own
# refused = "quarantine"               # mail it refuses for good waits for a person; or it goes to
                                       # "maildir:bad-mail?create=yes", and is then deleted on the server
# connections = 16                     # the most at a time
# user = "pps"                         # an account, where the target asks for one
# password = "file:target.password"
# auth = "auto"                        # plain, login, cram-md5, or xoauth2, whose password is an access token
# client_cert = "pps.pem"              # a certificate to show the target; client_key, if its key is in another file

# Who is told of what needs a person: stopped profiles, targets that are down, quarantine, mail that is too large.
# [notices]
# to = "postmaster"                    # of the profile's first domain; "local_user", or an address
# target = "local"                     # through which target; else the profile's own
# webhook = "https://chat.example.com/hooks/…"  # JSON is posted there
# down_after = "15m"                   # how long a target may take nothing
# every = "15m"                        # most often: what comes meanwhile comes together

# A profile is one remote mailbox and its local side. Add a [[profile]] for each.
[[profile]]
name = "office"
enabled = false                        # remove this line once the rest is yours
server = "mail.example.com 995s"       # HOST PORT, with an s after the port for TLS from the first byte
user = "default@example.com"
password = "env:OFFICE_PASSWORD"
# auth = "auto"                        # how to sign in: password apop plain login cram-md5 scram-sha-1 scram-sha-256
                                       # xoauth2 oauthbearer
local_domain = ["example.com"]         # the domains whose users are local
local_user = "user1"                   # who gets mail that names no local user; without distribute, all of it
distribute = true                      # distribute mail to the local users that To and Cc name
interval = "10m"                       # from one poll to the next
target = "local"
# same_users = false                   # true: every local domain has the users of the first
# users = ["ann", "bob"]               # the local users; mail for others goes to local_user. Without: whoever is named
# subaddress = "keep"                  # "strip": ann+lists is delivered as ann
# subaddress_separator = "+"           # what begins a subaddress: any of these
# fallback_subaddress = false          # true: mail for an unknown user x goes to local_user+x
# envelope = ["X-Original-To"]         # fields in which the provider notes the recipient: `pps explain` shows them
# envelope_hops = 0                    # how many Received fields may stand above such a field
# envelope_prefix = "mbox-user-"       # what qmail puts before the user there
# envelope_by = ["*.example.net"]      # with envelope = ["Received"]: whose "for" is believed
# resent = false                       # true: the newest Resent-To and Resent-Cc decide, before To and Cc
# bcc = false                          # true: Bcc names recipients too, where a mail still has it
# aliases = { "sales-*" = ["ann", "bob"] }         # local names, and the users they stand for
# lists = { "news.lists.example" = ["ann"] }       # mailing lists by List-Id or address, and the users on them
# tls = "auto"                         # as the port says, and encrypted; "none" allows cleartext
# ca = "provider-ca.pem"               # trust these certificates instead of the system's
# fingerprint = "…"                    # trust this certificate (its SHA-256), whoever issued it; with ca: both hold
# client_cert = "client.pem"           # a certificate to show the server
# client_key = "client.key"            # its key, if that is in another file
# proxy = "socks5://127.0.0.1:1080"    # reach the server through it; it also looks up the name
# proxy_user = "pps"                   # an account there, if it asks for one
# proxy_password = "file:proxy.password"
# oauth = "microsoft"                  # instead of a password: OAuth 2 tokens (or "google", "custom"); pps oauth login
# oauth_client_id = "application-id"   # the application that you registered there
# oauth_client_secret = "file:secret"  # its secret, if it has one
# oauth_tenant = "example.com"         # Microsoft: your directory
# oauth_scope = "mail.pop"             # "custom" has no presets: what to ask for, and where:
# oauth_token_url = "https://login.example.com/token"
# oauth_device_url = "https://login.example.com/device"
# oauth_authorize_url = "https://login.example.com/authorize"
# keep = false                         # true: mail stays on the server after it is delivered; "14d": so long
# order = "oldest"                     # "newest": the newest mail is fetched first
# max_size = "50MB"                    # larger mail is not fetched: it is skipped, which is told once, and stays
# max_mails = 500                      # the most in one poll; the next one goes on
# max_octets = "200MB"                 # the same by size
# hours = ["mon-fri 07:00-19:00"]      # when the mailbox is polled; "22:00-06:00" goes on past midnight
# time_zone = "Europe/Berlin"          # of hours; without it, that of the fetcher's machine
# new_uidls = "pause"                  # many known mails under new UIDLs: stop, "adopt" them, or "fetch" them again
# custody = "auto"                     # "blob" where the server hides mail once it is retrieved; found out by itself
"""


def write_sample(folder: Path) -> tuple[Path, Path]:
    """Write both files and return their paths; raises UsageError rather than overwrite a configuration.

    A key that is there is kept: what was sealed with it must still open.
    """
    config, key = folder / CONFIG_NAME, folder / KEY_NAME
    if config.exists():
        raise UsageError(f"{config}: is there already: edit it, or name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not key.exists():
            _write_new(key, make_key() + "\n", mode=0o600)
        _write_new(config, SAMPLE, mode=0o640)  # a broker's or ledger's URL may come to hold a password
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: can't write it: {error.strerror}") from error
    return config, key


def _write_new(path: Path, text: str, *, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
