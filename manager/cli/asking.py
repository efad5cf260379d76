"""Questions on a terminal. They are asked on stderr, so that what a command prints stays for scripts."""

import getpass
import sys
from collections.abc import Callable

from common.failures import PpsError, UsageError
from common.secrets import Secret, typed_secret


def on_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, check: Callable[[str], object], *, default: str | None = None) -> str:
    """Ask until the answer passes `check`, which raises PpsError; an empty answer is the default."""
    hint = f" [{default}]" if default else ""
    while True:
        answer = _read(f"{question}{hint}: ").strip() or (default or "")
        try:
            check(answer)
        except PpsError as error:
            _say(f"  {error}")
        else:
            return answer


def ask_password(question: str = "Password") -> Secret:
    """Ask for a password, which doesn't show, until it is one."""
    while True:
        try:
            return typed_secret(getpass.getpass(f"{question}: ", stream=sys.stderr))
        except PpsError as error:
            _say(f"  {error}")
        except EOFError:
            raise KeyboardInterrupt from None


def agreed(question: str, *, default: bool) -> bool:
    """Ask for yes or no."""
    answers = {"y": True, "yes": True, "n": False, "no": False, "": default}
    while True:
        answer = _read(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
        if answer in answers:
            return answers[answer]
        _say("  y or n")


def password_from_stdin() -> Secret:
    """Read a password of one line from stdin; raises UsageError."""
    if sys.stdin.isatty():
        return ask_password()
    try:
        return typed_secret(sys.stdin.buffer.read(1 << 16).decode(errors="surrogateescape"))
    except PpsError as error:
        raise UsageError(f"--password-stdin: {error}") from error


def _read(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:  # Ctrl-D
        raise KeyboardInterrupt
    return line


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
