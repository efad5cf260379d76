"""The architecture as a test: what may import what, what protocol files must not know, how long a file may be.

fetcher | router | deliverer → common → third party; only manager composes the workers; tests are free.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

MAX_LINES: Final = 350
"""Files of 60-250 lines are what we write; beyond this a file holds two nouns."""

MAY_IMPORT: Final = {
    "common": {"common"},
    "fetcher": {"fetcher", "common"},
    "router": {"router", "common"},
    "deliverer": {"deliverer", "common"},
    "manager": {"manager", "fetcher", "router", "deliverer", "common"},
}
FIRST_PARTY: Final = {*MAY_IMPORT, "tests"}

PROTOCOL_FILES: Final = {
    "fetcher/pop3.py",
    "fetcher/plan.py",
    "fetcher/sasl.py",
    "router/addresses.py",
    "router/headers.py",
    "router/recipients.py",
    "router/naming.py",
    "router/envelope.py",
    "router/lists.py",
    "router/advice.py",
    "router/local_users.py",
    "router/fingerprint.py",
    "deliverer/replies.py",
}
"""Bytes in, values out: they can be tested whole, byte by byte, because nothing in them waits, looks or tells."""

NOT_IN_PROTOCOL: Final = {
    "aiosmtplib", "aiosqlite", "asyncio", "asyncpg", "logging", "pathlib", "pika", "random", "select", "selectors",
    "socket", "sqlalchemy", "ssl", "structlog", "subprocess", "threading", "time",
}  # fmt: skip
CLOCK_CALLS: Final = {"now", "utcnow", "today"}

BROKER_LIBRARY: Final = "pika"
LEFT_ALONE: Final = {
    "poplib": "it ends lines at a bare LF, and bodies too; it raises at long lines, and passes on control characters",
    "smtplib": "its LMTP reads one reply for many recipients",
    "email.parser": "it takes quadratic time, and rewrites what it can't read",
    "mailbox": "it knows mail as text",
}
"""Python's own ways to deal with mail, and why they are not ours; `email.utils` alone is looked at by name."""

LEFT_ALONE_NAMES: Final = frozenset({"getaddresses", "parseaddr", "message_from_bytes", "message_from_binary_file"})
"""Of `email` and `email.utils`: CVE-2023-27043 and its kin."""

BROKER_PLACE: Final = "common/rabbitmq"


def violations(path: str, source: str) -> list[str]:
    """Return what in a file, given by its path from the root, breaks the architecture."""
    tree = ast.parse(source)
    return [
        *_wrong_imports(path, tree),
        *_wrong_names(tree),
        *_protocol_with_effects(path, tree),
        *([] if ast.get_docstring(tree) else ["has no docstring that says what lives here"]),
        *([f"has more than {MAX_LINES} lines"] if source.count("\n") > MAX_LINES else []),
    ]


def _wrong_imports(path: str, tree: ast.Module) -> Iterator[str]:
    package = path.partition("/")[0]
    for module in imports(path, tree):
        top = module.partition(".")[0]
        if top in FIRST_PARTY - MAY_IMPORT[package]:
            yield f"{package} must not import {module}"
        if module in LEFT_ALONE:
            yield f"{module} is not to be used: {LEFT_ALONE[module]}"
        if top == BROKER_LIBRARY and not path.startswith(BROKER_PLACE):
            yield f"{module} is imported only under {BROKER_PLACE}"


def _wrong_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "email":
            for name in sorted(LEFT_ALONE_NAMES.intersection(alias.name for alias in node.names)):
                yield f"{name} is not to be used: it takes what a sender wrote for an address"
        if isinstance(node, ast.Attribute) and node.attr in LEFT_ALONE_NAMES:
            yield f"{node.attr} is not to be used: it takes what a sender wrote for an address"


def _protocol_with_effects(path: str, tree: ast.Module) -> Iterator[str]:
    if path not in PROTOCOL_FILES:
        return
    for module in imports(path, tree):
        if module.partition(".")[0] in NOT_IN_PROTOCOL:
            yield f"a protocol file must not import {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS:
            yield f"a protocol file must not look at a clock: .{node.attr} in line {node.lineno}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input"}
        ):
            yield f"a protocol file must do no I/O: {node.func.id} in line {node.lineno}"


def imports(path: str, tree: ast.Module) -> set[str]:
    """Return all modules that a file imports, at the top, inside functions, relatively, or by a literal name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(_absolute(path, node))
        elif isinstance(node, ast.Call) and _callee(node) in {"import_module", "__import__"}:
            found.update(
                name.value for name in node.args if isinstance(name, ast.Constant) and isinstance(name.value, str)
            )
    return found


def _absolute(path: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    folder = path.split("/")[: -node.level]
    return ".".join([*folder, *([node.module] if node.module else [])])


def _callee(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def files() -> list[str]:
    """Return the paths of all the packages' files, from the root."""
    return sorted(str(path.relative_to(ROOT)) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files())
def test_file_keeps_to_the_architecture(path: str) -> None:
    """Imports go one way, protocol files have no effects, each file says what lives in it and isn't too long."""
    assert violations(path, (ROOT / path).read_text()) == []


def test_all_packages_have_files() -> None:
    """A package that moved away would otherwise be checked no more."""
    assert {path.partition("/")[0] for path in files()} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", sorted(PROTOCOL_FILES))
def test_protocol_files_are_where_this_test_looks(path: str) -> None:
    """One that was renamed or split would otherwise be checked no more."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("common/broker.py", "import fetcher"),
        ("common/broker.py", "from manager.cli import main"),
        ("common/ledger/rows.py", "from tests.mails import mail"),
        ("common/ledger/rows.py", "from ...router import work"),
        ("fetcher/session.py", "import deliverer.replies as replies"),
        ("router/work.py", "from fetcher.pop3 import Body"),
        ("deliverer/work.py", "def f():\n    from router import work"),
        ("deliverer/work.py", 'def f():\n    return importlib.import_module("manager.cli")'),
        ("fetcher/session.py", "import pika"),
        ("common/broker.py", "from pika.adapters import asyncio_connection"),
        ("fetcher/pop3.py", "import asyncio"),
        ("fetcher/pop3.py", "def f():\n    import socket"),
        ("fetcher/plan.py", "from time import monotonic"),
        ("router/recipients.py", "import structlog"),
        ("router/headers.py", "from logging import getLogger"),
        ("deliverer/replies.py", "import datetime\nx = datetime.datetime.now()"),
        ("deliverer/replies.py", 'print("250")'),
        ("fetcher/session.py", "import poplib"),
        ("deliverer/session.py", "from smtplib import LMTP"),
        ("router/naming.py", "from email.utils import getaddresses"),
        ("router/naming.py", "import email.utils\nx = email.utils.parseaddr"),
        ("router/work.py", "x = 0\n" * (MAX_LINES + 1)),
    ],
)
def test_a_breach_is_found(path: str, line: str) -> None:
    """Each rule can fail: a file with this one fault has exactly one violation."""
    assert len(violations(path, f'"""A sample."""\n{line}\n')) == 1


def test_a_file_without_a_docstring_is_found() -> None:
    """An opening comment is not enough."""
    assert violations("common/broker.py", "# What lives here.\nx = 1\n")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("common/rabbitmq/connection.py", "import pika"),
        ("manager/run.py", "from fetcher.work import Fetcher\nfrom common import broker"),
        ("fetcher/session.py", "import asyncio\nfrom . import plan\nfrom .pop3 import Body"),
        ("fetcher/pop3.py", "import re\nfrom datetime import datetime\nx = datetime(2026, 1, 1)"),
    ],
)
def test_what_is_allowed_is_no_breach(path: str, line: str) -> None:
    """The rules forbid no more than they say."""
    assert violations(path, f'"""A sample."""\n{line}\n') == []
