"""The header blocks of tests/headers, read: see its README for how they are written."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.profile import Profile
from common.routing_policy import RoutingPolicy

FOLDER: Final = Path(__file__).parent.parent / "headers"
DOMAIN: Final = "local.example"
NOBODY: Final = "(nobody)"

_PROFILE: Final = {
    "name": "corpus",
    "server": "pop.far.example 995s",
    "user": "catchall",
    "password": "env:NONE",
    "local_domain": [DOMAIN, "second.example", "münchen.example"],
    "local_user": f"postmaster@{DOMAIN}",
    "distribute": True,
}
_CASE: Final = re.compile(
    r"^== (?P<title>[^|\n]+) \| (?P<source>[^\n]+)\n(?P<keys>(?:@ [^\n]*\n)*)(?P<block>.*?)^-> (?P<users>[^\n]+)\n",
    re.MULTILINE | re.DOTALL,
)
_OCTET: Final = re.compile(rb"\xc2\xab(?:u([0-9a-f]{4})|([0-9a-f]{2}))\xc2\xbb")


def policy(keys: str = "") -> RoutingPolicy:
    """Return the corpus's policy, with keys as in pps.toml."""
    return Profile.from_document(_PROFILE | tomllib.loads(keys)).policy


POLICY: Final = policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A header block, and whom it names in order of first mention."""

    file: str
    title: str
    source: str  # the rule, or where the form was seen
    keys: str  # of the profile
    header: bytes
    users: str

    @property
    def name(self) -> str:
        """The case in a test's name."""
        return f"{self.file}: {self.title}"

    @property
    def policy(self) -> RoutingPolicy:
        """The policy by which it is read."""
        return policy(self.keys) if self.keys else POLICY

    @property
    def expected(self) -> tuple[tuple[str, str], ...]:
        """The recipients' addresses with their rules; none means the fallback."""
        if self.users == NOBODY:
            return ()
        pairs = (user.partition(":") for user in self.users.split())
        return tuple((name if "@" in name else f"{name}@{DOMAIN}", rule or "to-cc") for name, _, rule in pairs)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The recipients' addresses."""
        return tuple(address for address, _ in self.expected)


def _cases() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.txt")):
        text = path.read_text()
        for match in _CASE.finditer(text):
            yield Case(
                file=path.stem,
                title=match["title"],
                source=match["source"],
                keys=match["keys"].replace("@ ", ""),
                header=_octets(match["block"]),
                users=match["users"],
            )


def _octets(block: str) -> bytes:
    raw = f"{block}\n".replace("\n", "\r\n").replace("«lf»\r\n", "\n").partition("«end»")[0].encode()
    return _OCTET.sub(
        lambda match: chr(int(match[1], 16)).encode() if match[1] else bytes.fromhex(match[2].decode()), raw
    )


CORPUS: Final = tuple(_cases())
