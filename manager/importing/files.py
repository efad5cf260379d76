"""The files of an import: those that are read, and those that are written, new and private. All the I/O of it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from common.failures import UsageError
from common.secrets import Secret
from manager.importing.document import PASSWORDS, Document, document
from manager.importing.kind import Source, kind_of, read_drafts

MAX_FILE: Final = 1024 * 1024
"""Octets of a file: rc files of whole sites are some ten thousand."""


def import_files(paths: Sequence[Path], *, with_files: bool, home: str, me: str) -> Document:
    """Read these files, and in a folder those that are for mail collectors; raises UsageError where none is one."""
    read = [read_drafts(source, path=str(path), home=home, me=me) for path, source in _sources(paths)]
    drafts = [draft for found, _ in read for draft in found]
    remarks = [remark for _, others in read for remark in others]
    return document(drafts, remarks, with_files=with_files)


def _sources(paths: Iterable[Path]) -> Iterator[tuple[Path, Source]]:
    for path in paths:
        if not path.is_dir():
            source = _read(path)
            if kind_of(source) is None:
                raise UsageError(f"{path}: is neither a .fetchmailrc nor a getmailrc: name one that is")
            yield path, source
            continue
        inside = [(one, _read(one)) for one in sorted(path.iterdir()) if one.is_file()]
        found = [(one, source) for one, source in inside if kind_of(source)]
        if not found:
            raise UsageError(f"{path}: holds no getmailrc: name the file")
        yield from found


def _read(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path}: can't read it: {error.strerror}") from error
    if len(octets) > MAX_FILE:
        raise UsageError(f"{path}: is larger than {MAX_FILE} octets: that is no mail collector's file")
    try:
        return Source(octets.decode())
    except UnicodeDecodeError:
        return Source(octets.decode("latin-1"))


def write(made: Document, output: Path) -> list[Path]:
    """Write the configuration and the passwords, and return their paths; raises UsageError rather than overwrite."""
    folder = output.parent / PASSWORDS
    secrets = {folder / name: secret for name, secret in made.passwords.items()}
    for path in (output, *secrets):
        if os.path.lexists(path):
            raise UsageError(f"{path}: is there already: move it away, or name another --output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if secrets:
            folder.mkdir(mode=0o700, exist_ok=True)
        for path, secret in secrets.items():
            _write_new(path, _line(secret), mode=0o600)
        _write_new(output, made.text, mode=0o640)
    except OSError as error:
        raise UsageError(f"{error.filename or output}: can't write it: {error.strerror}") from error
    return [output, *secrets]


def _line(secret: Secret) -> str:
    return secret.reveal() + "\n"


def _write_new(path: Path, text: str, *, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
