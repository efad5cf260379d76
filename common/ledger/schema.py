"""The ledger's tables. Times are milliseconds since 1970 UTC by the database's own clock; ids are UUIDv7 text.

A change here needs a migration in `migrations/versions/`; a test compares the two.
"""

from typing import Any, Final

import uuid_utils
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

HEAD: Final = "0010"
"""The newest migration: what a worker of this version needs to find."""

metadata: Final = MetaData()

profiles: Final = Table(
    "profiles",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("mailbox", String(64), nullable=False),
    Column("settings", Text, nullable=False),  # Profile.to_json
    Column("secret", LargeBinary),  # a sealed password, for profiles that have no reference
    Column("managed_by", String(16), nullable=False),  # file, manager or pull
    Index("ix_profiles_mailbox", "mailbox"),
)

schedule: Final = Table(
    "schedule",
    metadata,
    Column("profile_id", String(36), primary_key=True),
    Column("due_at", BigInteger),  # null: disabled, or stopped until a person acts
    Column("lease_owner", String(64)),
    Column("lease_epoch", Integer, nullable=False),
    Column("lease_until", BigInteger),
    Column("auth_failures", Integer, nullable=False),  # in a row
    Column("failures", Integer, nullable=False),  # in a row, of any class
    Column("last_started_at", BigInteger),
    Column("last_finished_at", BigInteger),
    Column("last_success_at", BigInteger),
    Column("last_result", String(16)),
    Column("last_error", String(512)),
    Column("listed", Integer, nullable=False),  # mails in the last listing we believed, less those we deleted
    Column("shrunk", Boolean, nullable=False),  # the last listing was suspiciously short, and marked nothing
    Column("host", String(255), nullable=False, server_default=""),  # Profile.host: whose limits hold
    Column("held", String(512)),  # why a poll that was due was not made
    Column("held_at", BigInteger),
    Column("not_before", BigInteger),  # the server asked to be left alone until then (LOGIN-DELAY)
    Column("hides", Boolean, nullable=False, server_default=false()),  # the server hides mail that was retrieved
    Index("ix_schedule_due", "due_at"),
)
_LEASED: Final = schedule.c.lease_until.is_not(None)
Index("ix_schedule_leased", schedule.c.host, sqlite_where=_LEASED, postgresql_where=_LEASED)
_TURNED_AWAY: Final = schedule.c.last_result == literal_column("'auth'")
Index(
    "ix_schedule_refused",
    schedule.c.host,
    schedule.c.last_finished_at,
    sqlite_where=_TURNED_AWAY,
    postgresql_where=_TURNED_AWAY,
)

hosts: Final = Table(
    "hosts",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("window", Integer),  # commands that may be sent ahead; null: as many as we like
    Column("window_until", BigInteger),
    Column("no_capa_until", BigInteger),  # it hangs up on CAPA
    Column("paused_until", BigInteger),
    Column("paused_since", BigInteger),  # null: sign-ins are as usual
    Column("pauses", Integer, nullable=False),  # in a row
    Column("reason", String(512)),
)

mails: Final = Table(
    "mails",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("mailbox", String(64), nullable=False),
    Column("profile_id", String(36), nullable=False),
    Column("uidl_key", LargeBinary, nullable=False),
    Column("uidl", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),  # as listed
    Column("state", String(16), nullable=False),
    Column("reason", String(512)),
    Column("fetches", Integer, nullable=False),  # times it was sent back to be fetched
    Column("breaks", Integer, nullable=False),  # sessions that broke while it was retrieved
    Column("copy_id", String(36)),
    Column("header_hash", LargeBinary),
    Column("digest", LargeBinary),
    Column("body_digest", LargeBinary),
    Column("octets", BigInteger),  # as retrieved
    Column("listed_at", BigInteger, nullable=False),
    Column("progress_at", BigInteger, nullable=False),
    Column("fetched_at", BigInteger),
    Column("routed_at", BigInteger),
    Column("deleted_at", BigInteger),
    Column("unseen_since", BigInteger),
    Column("asked_at", BigInteger),  # when it was to be retrieved last, where the server hides what it has given
    UniqueConstraint("mailbox", "uidl_key", name="uq_mails_mailbox_uidl_key"),
)
# Bind-free predicates, so that both databases can match a query's own literal to the index.
_ON_SERVER: Final = mails.c.unseen_since.is_(None)
Index("ix_mails_on_server", mails.c.mailbox, sqlite_where=_ON_SERVER, postgresql_where=_ON_SERVER)
UNSEEN: Final = mails.c.unseen_since.is_not(None)
Index("ix_mails_unseen", mails.c.unseen_since, sqlite_where=UNSEEN, postgresql_where=UNSEEN)
GONE_UNDELETED: Final = UNSEEN & (mails.c.state != literal_column("'deleted'"))
Index("ix_mails_gone", mails.c.mailbox, sqlite_where=GONE_UNDELETED, postgresql_where=GONE_UNDELETED)
IS_DELETED: Final = mails.c.state == literal_column("'deleted'")
_DIGEST: Final = (mails.c.mailbox, mails.c.digest)
Index("ix_mails_deleted_digest", *_DIGEST, sqlite_where=IS_DELETED, postgresql_where=IS_DELETED)
Index("ix_mails_copy", mails.c.copy_id)
Index("ix_mails_profile", mails.c.profile_id, mails.c.id)
Index("ix_mails_state_progress", mails.c.state, mails.c.progress_at)

copies: Final = Table(
    "copies",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("mailbox", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),  # the mail's own id where it is never joined
    Column("first_seen", BigInteger, nullable=False),
    UniqueConstraint("mailbox", "fingerprint", name="uq_copies_mailbox_fingerprint"),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("copy_id", String(36), nullable=False),
    Column("mail_id", String(36), nullable=False),  # whose bytes are delivered
    Column("profile_id", String(36), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("fallback", String(320), nullable=False),
    Column("reason", String(512), nullable=False),
    Column("target", String(64), nullable=False),
    Column("sender", String(320), nullable=False),
    Column("source_host", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),  # that ended
    Column("ambiguous", Integer, nullable=False),  # of those, without an answer
    Column("claims", Integer, nullable=False),  # also the token of the newest claim
    Column("swept_claims", Integer, nullable=False),  # `claims` when a job was last published; see `_take_due`
    Column("claimed_until", BigInteger),
    Column("next_attempt_at", BigInteger),  # when the sweeper looks at it; null: never
    Column("last_reply", String(512)),
    Column("created_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    Column("refused_at", BigInteger),  # when the target first said that it has no such user
    UniqueConstraint("copy_id", "recipient", name="uq_deliveries_copy_recipient"),
    Index("ix_deliveries_due", "state", "next_attempt_at"),
    Index("ix_deliveries_recipient", "recipient", "target"),
)
_REFUSED: Final = deliveries.c.refused_at.is_not(None)
Index(
    "ix_deliveries_refused",
    deliveries.c.target,
    deliveries.c.refused_at,
    sqlite_where=_REFUSED,
    postgresql_where=_REFUSED,
)

targets: Final = Table(
    "targets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("paused_until", BigInteger),
    Column("paused_since", BigInteger),
    Column("reason", String(512)),
    Column("held_until", BigInteger),  # it takes nothing until then, whatever probes say
    Column("doubted_since", BigInteger),
    Column("doubted_until", BigInteger),  # its "no such user" is not believed until then
    Column("doubt", String(512)),  # why
)

notices: Final = Table(
    "notices",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(128), nullable=False),  # what it is about: told of once
    Column("profile_id", String(36)),
    Column("text", String(512), nullable=False),
    Column("found_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("claimed_until", BigInteger),
    Column("sent_at", BigInteger),
    UniqueConstraint("kind", "subject", name="uq_notices_kind_subject"),
    Index("ix_notices_sent", "sent_at"),
)

grants: Final = Table(
    "grants",
    metadata,
    Column("mailbox", String(64), primary_key=True),
    Column("sealed", LargeBinary),  # access and refresh token, as one value
    Column("refresh_at", BigInteger),  # when the next access token is got, ahead of
    Column("expires_at", BigInteger),  # the end of this one
    Column("grant_expires_at", BigInteger),  # when only a person can get another; null: not known
    Column("epoch", Integer, nullable=False),  # also the token of the newest claim
    Column("claimed_until", BigInteger),
    Column("refused", String(512)),  # why there is no further token
)

events: Final = Table(
    "events",
    metadata,
    Column("subject", String(36), primary_key=True),  # a mail or a delivery
    Column("id", String(36), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("what", String(16), nullable=False),
    Column("attempt", Integer),
    Column("target", String(64)),
    Column("text", String(512)),
)

verifications: Final = Table(
    "verifications",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("mails", BigInteger, nullable=False),
    Column("breaches", Integer, nullable=False),
    Column("undelivered", Integer, nullable=False),  # deleted with no delivered row
    Column("document", Text, nullable=False),  # as `pps verify --json` printed it
)

installation: Final = Table(
    "installation",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("epoch", BigInteger, nullable=False, server_default="0"),  # how often its age was left with the blobs
    Column("restored_at", BigInteger),
    Column("restored_why", String(512)),
    Column("accepted_at", BigInteger),
)


def new_id() -> str:
    """Return a UUIDv7: a fresh or restored ledger can't make an old name again."""
    return str(uuid_utils.uuid7())


class now(FunctionElement[int]):  # noqa: N801 (reads as the SQL function that it is)
    """The database's clock in milliseconds: workers' clocks never decide."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: Any, **_keywords: Any) -> str:  # noqa: ANN401 (SQLAlchemy's own signature)
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: Any, **_keywords: Any) -> str:  # noqa: ANN401 (SQLAlchemy's own signature)
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
