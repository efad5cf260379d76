"""A ledger with a history: mails that were delivered and deleted, as many as one likes, put in at once."""

from collections.abc import Sequence
from typing import Final

from common.ledger import Ledger
from tests.ledger import change

DAY_MS: Final = 86_400_000


async def add_history(ledger: Ledger, mailboxes: Sequence[tuple[str, str]], *, count: int, days: int = 60) -> None:
    """Put in `count` settled mails, spread over `days` until yesterday and over these (mailbox, profile id).

    Each has its copy and a delivery; their ids begin with their time, as UUIDv7 do.
    """
    own = {"count": count, "step": days * DAY_MS // count, "days": days * DAY_MS + DAY_MS}
    share = -(-count // len(mailboxes))
    for number, (mailbox, profile_id) in enumerate(mailboxes):
        place = {"mailbox": mailbox, "profile": profile_id}
        span = {"first": number * share + 1, "last": min((number + 1) * share, count)}
        for statement in (_MAILS, _COPIES, _DELIVERIES):
            text = statement.replace("NUMBERS", _POSTGRESQL if ledger.shared else _SQLITE)
            wanted = own | span | place
            await change(ledger, text, **{name: value for name, value in wanted.items() if f":{name}" in text})


async def add_waiting_profiles(ledger: Ledger, *, count: int, settings: str) -> None:
    """Put in profiles whose next poll is an hour away; all have these settings, and a mailbox of their own."""
    series = "SELECT generate_series(1, CAST(:count AS INTEGER)) AS i" if ledger.shared else _COUNTED
    for statement in (_PROFILES, _SCHEDULE):
        wanted = {"count": count, "settings": settings}
        values = {name: value for name, value in wanted.items() if f":{name}" in statement or name == "count"}
        await change(ledger, statement.replace("NUMBERS", series), **values)


_COUNTED: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i FROM n"
_PROFILES: Final = """
INSERT INTO profiles (id, name, enabled, revision, mailbox, settings, managed_by)
SELECT 'waiting' || i, 'waiting' || i, true, 1, 'box' || i, :settings, 'file' FROM (NUMBERS) AS numbers
"""
_SCHEDULE: Final = """
INSERT INTO schedule (profile_id, due_at, lease_epoch, auth_failures, failures, listed, shrunk, host, hides)
SELECT 'waiting' || i, 1 + (SELECT max(due_at) + 3600000 FROM schedule) + i, 0, 0, 0, 0, false,
       'pop' || (i % 100) || '.example.net', false FROM (NUMBERS) AS numbers
"""

_POSTGRESQL: Final = """
SELECT i, at, lpad(to_hex(at), 12, '0') AS made, lpad(CAST(i AS TEXT), 12, '0') AS digits,
       sha256(CAST(CAST(i AS TEXT) AS BYTEA)) AS digest
FROM (SELECT i, CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) - CAST(:days AS BIGINT)
             + i * CAST(:step AS BIGINT) AS at
      FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS i) AS counted
"""
_SQLITE: Final = """
SELECT i, at, printf('%012x', at) AS made, printf('%012d', i) AS digits, CAST(printf('%032d', i) AS BLOB) AS digest
FROM (WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
      SELECT i, CAST(strftime('%s', 'now') AS INTEGER) * 1000 - :days + i * :step AS at FROM n) AS counted
"""
_ID: Final = "substr(made, 1, 8) || '-' || substr(made, 9) || '-7000-{}-' || digits"
_MAIL, _COPY, _DELIVERY = (_ID.format(mark) for mark in ("8001", "8002", "8003"))

_MAILS: Final = f"""
INSERT INTO mails (id, mailbox, profile_id, uidl_key, uidl, size, state, fetches, breaks, copy_id, header_hash, digest,
                   body_digest, octets, listed_at, progress_at, fetched_at, routed_at, deleted_at, unseen_since)
SELECT {_MAIL}, :mailbox, :profile, digest, digest, 4000, 'deleted', 0, 0, {_COPY}, digest, digest, digest, 4000,
       at, at, at, at, at, at FROM (NUMBERS) AS numbers
"""  # noqa: S608 (of constants)
_COPIES: Final = f"""
INSERT INTO copies (id, mailbox, fingerprint, first_seen)
SELECT {_COPY}, :mailbox, {_COPY}, at FROM (NUMBERS) AS numbers
"""  # noqa: S608 (of constants)
_DELIVERIES: Final = f"""
INSERT INTO deliveries (id, copy_id, mail_id, profile_id, recipient, fallback, reason, target, sender, source_host,
                        state, attempts, ambiguous, claims, swept_claims, last_reply, created_at, done_at)
SELECT {_DELIVERY}, {_COPY}, {_MAIL}, :profile, 'user' || (i % 5000) || '@example.com', 'boss@example.com', 'To',
       'local', 'sender@example.net', 'pop.example.net', 'delivered', 1, 0, 1, 0, '250 2.0.0 saved', at, at
FROM (NUMBERS) AS numbers
"""  # noqa: S608 (of constants)
