"""How many of the corpus' headers each reader of addresses gets right: the standard library's two, and ours.

`python -m tests.bench.address_readers` prints a table, and the cases in which a library does what ours doesn't. Each
reader gives addresses; whom they mean is asked of the same rule. Cases that need keys of a profile are left out.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.headerregistry import AddressHeader
from email.policy import default
from email.utils import getaddresses
from typing import Final

from common.addresses import a_label
from router.addresses import Address
from router.local_users import local_users
from router.recipients import recipients_of
from tests.unit.header_corpus import CORPUS, POLICY, Case

FIELDS: Final = frozenset({"to", "cc"})


def by_getaddresses(header: bytes) -> Iterable[tuple[str, str]]:
    """Read with email.utils.getaddresses."""
    fields = [str(value) for name, value in message_from_bytes(header).items() if name.lower() in FIELDS]
    for _, address in getaddresses(fields):
        local, _, domain = address.rpartition("@")
        yield local, domain


def by_policy_default(header: bytes) -> Iterable[tuple[str, str]]:
    """Read with email.policy.default."""
    for name, value in message_from_bytes(header, policy=default).items():
        if name.lower() in FIELDS and isinstance(value, AddressHeader):
            for address in value.addresses:
                yield address.username, address.domain


LIBRARIES: Final[Mapping[str, Callable[[bytes], Iterable[tuple[str, str]]]]] = {
    "getaddresses": by_getaddresses,
    "policy.default": by_policy_default,
}
OURS: Final = "ours"


@dataclass(slots=True)
class Score:
    """How a reader did."""

    right: int = 0
    missed: int = 0  # somebody who was named
    wrong: int = 0  # somebody was found who wasn't named
    raised: int = 0


def cases() -> list[Case]:
    """Return the cases that ask for nothing but addresses in To and Cc."""
    return [case for case in CORPUS if not case.keys]


def found_by(reader: str, case: Case) -> tuple[str, ...] | None:
    """Return the local users that a reader finds; None if it raised."""
    if reader == OURS:
        found = recipients_of(case.header, POLICY, header_cut=False)
        return () if found.fallback else found.addresses
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(dict.fromkeys(_local(LIBRARIES[reader](case.header))))
    except Exception:  # noqa: BLE001 (the libraries' readers raise what they like)
        return None


def _local(addresses: Iterable[tuple[str, str]]) -> Iterator[str]:
    users = local_users(POLICY)
    for local, domain in addresses:
        try:
            meant = users.meant_by(Address(local, a_label(domain)))
        except ValueError:
            continue
        if meant is not None:
            yield from meant.users


def score(reader: str) -> Score:
    """Return how a reader does on all cases."""
    found = Score()
    for case in cases():
        users = found_by(reader, case)
        if users is None:
            found.raised += 1
        elif users == case.addresses:
            found.right += 1
        elif set(users) - set(case.addresses):
            found.wrong += 1
        else:
            found.missed += 1
    return found


def better_elsewhere() -> list[tuple[str, Case]]:
    """Return the cases that a library gets right and ours doesn't."""
    return [
        (reader, case)
        for case in cases()
        if found_by(OURS, case) != case.addresses
        for reader in LIBRARIES
        if found_by(reader, case) == case.addresses
    ]


def main() -> int:
    """Print the table."""
    sys.stdout.write(f"{len(CORPUS)} header blocks, of which {len(cases())} ask for To and Cc alone:\n")
    sys.stdout.write(f"{'reader':16}{'right':>7}{'missed':>8}{'wrong':>7}{'raised':>8}\n")
    for reader in (*LIBRARIES, OURS):
        got = score(reader)
        sys.stdout.write(f"{reader:16}{got.right:7}{got.missed:8}{got.wrong:7}{got.raised:8}\n")
    for reader, case in better_elsewhere():
        sys.stdout.write(f"{reader} reads better: {case.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
