"""Which rights PostgreSQL's role lacks on the ledger's tables, and whether its connection is safe: for `pps doctor`."""

from typing import Final

from sqlalchemy.engine import make_url

from common.ledger.reader import Reader
from common.ledger.schema import metadata

_MISSING: Final = """
SELECT wanted.verb, wanted.tab FROM (
    SELECT verb, tab FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS verb,
                          unnest(string_to_array(:tables, ' ')) AS tab
) wanted WHERE NOT has_table_privilege(wanted.tab, wanted.verb) ORDER BY wanted.tab, wanted.verb
"""


async def missing_rights(reader: Reader) -> tuple[str, ...]:
    """Return what a worker still needs, as GRANT writes it: "INSERT, UPDATE ON mails"."""
    lacking: dict[str, list[str]] = {}
    for row in await reader.rows(_MISSING, tables=" ".join(sorted(metadata.tables))):
        lacking.setdefault(row["tab"], []).append(row["verb"])
    return tuple(f"{', '.join(verbs)} ON {table}" for table, verbs in lacking.items())


def can_be_overheard(url: str) -> bool:
    """Whether mail's addresses and the password's exchange cross a network without a certificate that is verified."""
    parsed = make_url(url)
    host = parsed.host or str(parsed.query.get("host", ""))
    here = host in {"", "localhost", "::1"} or host.startswith(("127.", "/"))
    return not here and parsed.query.get("sslmode") != "verify-full"
