"""Secrets: a value that never shows itself, where references to secrets lead, and the sealing of typed ones.

A secret is resolved when it is used and kept no longer. No error here holds any part of one.
"""

import asyncio
import contextlib
import os
import re
import shlex
import signal
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from common.failures import PpsError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MAX_SECRET: Final = 16 * 1024
"""Octets of a secret: OAuth tokens take a few thousand; a file or command that gives more is the wrong one."""

COMMAND_SECONDS: Final = 30
"""How long a command may take to print a secret: a password store over the network answers within that."""

REFERENCE: Final = r"(env|file|command|credential):[^\x00-\x1f]+"
"""What a reference to a secret looks like."""

STORED: Final = "stored"
"""In place of a reference: the password was typed, and is sealed in the ledger."""

KINDS: Final = "env:NAME, file:PATH, command:COMMAND or credential:NAME"

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def is_reference(text: str) -> bool:
    """Whether this says where a secret is found."""
    return re.fullmatch(REFERENCE, text) is not None


class Secret:
    """A text that shows itself only to `reveal`: not in a repr, an f-string, a log line or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself: only where it goes onto the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")


async def resolve(reference: str, *, base: Path) -> Secret:
    """Return the secret that `reference` leads to; relative paths and commands start at `base`.

    Raises PpsError, one line that names the reference and the mend. Of a command only the program is named: its
    arguments may hold what they shouldn't.
    """
    kind, separator, rest = reference.partition(":")
    if not separator or not rest:
        raise PpsError(f"a password is given as a reference: {KINDS}")
    if kind == "env":
        return _secret(_environment(rest), f"env:{rest}")
    if kind == "file":
        return _secret(await asyncio.to_thread(_private_file, base / rest), f"file:{rest}")
    if kind == "credential":
        return _secret(await asyncio.to_thread(_credential, rest), f"credential:{rest}")
    if kind == "command":
        arguments = _arguments(rest)
        return _secret(await _output(arguments, base), f"command:{arguments[0]}")
    raise PpsError(f"a password is given as a reference: {KINDS}")


def _environment(name: str) -> bytes:
    value = os.environb.get(os.fsencode(name))
    if value is None:
        raise PpsError(f"env:{name}: the environment variable {name} isn't set: export it, or name another")
    return value


def _private_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise PpsError(f"file:{path}: others than its owner may use it: chmod 600 {shlex.quote(str(path))}")
            return file.read(MAX_SECRET + 1)
    except OSError as error:
        raise PpsError(f"file:{path}: can't read it: {error.strerror}") from error


def _credential(name: str) -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise PpsError(f"credential:{name}: systemd gave no credentials: set LoadCredential={name}:PATH in the unit")
    if "/" in name:
        raise PpsError(f"credential:{name}: a credential's name holds no slash")
    try:
        with (Path(folder) / name).open("rb") as file:
            return file.read(MAX_SECRET + 1)
    except OSError as error:
        raise PpsError(f"credential:{name}: {error.strerror}: set LoadCredential={name}:PATH in the unit") from error


def _arguments(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise PpsError(f"command: a quotation isn't closed ({error})") from None
    if not arguments:
        raise PpsError("command: names no program")
    return arguments


async def _output(arguments: Sequence[str], base: Path) -> bytes:
    """Run the program without a shell, in a process group of its own so that the deadline ends its children too."""
    program = arguments[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=base,
            start_new_session=True,
        )
    except OSError as error:
        raise PpsError(f"command:{program}: can't run it: {error.strerror}") from error
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            printed = await _first_octets(process)
            code = await process.wait()
    except TimeoutError:
        raise PpsError(f"command:{program}: printed no password within {COMMAND_SECONDS} s: run it by hand") from None
    finally:
        await _end(process)
    if code != 0 and len(printed) <= MAX_SECRET:
        raise PpsError(f"command:{program}: ended with exit code {code}: run it by hand to see why")
    return printed


async def _first_octets(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the command was started without a pipe")
    printed = b""
    while len(printed) <= MAX_SECRET and (chunk := await process.stdout.read(MAX_SECRET)):
        printed += chunk
    if len(printed) > MAX_SECRET:
        await _kill(process)  # it would wait for ever with its output unread
    return printed


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        await _kill(process)
        await process.wait()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the program and its children, and read what is left: asyncio waits for the pipe's end, read or not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        while await process.stdout.read(MAX_SECRET):
            pass


def _secret(value: bytes, place: str) -> Secret:
    """Check what every secret must be: one line, for a line break in a password would begin a second command."""
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) > MAX_SECRET:
        raise PpsError(f"{place}: gives more than {MAX_SECRET} octets: that is no password")
    if not value:
        raise PpsError(f"{place}: is empty")
    if set(value) & set(b"\r\n\0"):
        raise PpsError(f"{place}: holds more than one line: keep just the password in it")
    try:
        return Secret(value.decode())
    except UnicodeDecodeError:
        raise PpsError(f"{place}: isn't UTF-8 text") from None


def typed_secret(text: str) -> Secret:
    """Return what was typed as a secret, without the line end; raises PpsError, as for all others."""
    return _secret(text.encode(errors="surrogateescape"), "the password")


def make_key() -> str:
    """Return a new key for `seal`."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 (few commands seal, and the import is slow)

    return Fernet.generate_key().decode()


def seal(secret: Secret, keys: Secret) -> bytes:
    """Return `secret` encrypted under the first of `keys`, which are separated by commas, the newest first."""
    return _cipher(keys).encrypt(secret.reveal().encode())


def unseal(token: bytes, keys: Secret) -> Secret:
    """Return what `seal` was given, under any of `keys`; raises PpsError when none of them fits."""
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 (as in make_key)

    try:
        return Secret(_cipher(keys).decrypt(token).decode())
    except InvalidToken:
        raise PpsError("[service] key: opens no stored password: put the key they were sealed with back") from None


def _cipher(keys: Secret) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 (as in make_key)

    try:
        return MultiFernet([Fernet(key.strip()) for key in keys.reveal().split(",")])
    except ValueError:
        raise PpsError("[service] key: isn't a key that `pps init` makes") from None
