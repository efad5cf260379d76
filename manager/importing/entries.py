"""The entries of a .fetchmailrc: words made into servers, their users, and the options of each. Total: never raises."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from manager.importing.keywords import ENTRIES, GLOBALS, KEYWORDS, Of, Takes, is_keyword, keyword
from manager.importing.words import Kind, Word, words

_END: Final = Word(Kind.WORD, "", 0)


class Option(NamedTuple):
    """One option as it was written."""

    name: str
    values: tuple[str, ...]
    line: int
    on: bool = True  # not for `no keep`


class LocalName(NamedTuple):
    """`theirs = here`, or one name for both."""

    theirs: str
    here: str


@dataclass(slots=True, kw_only=True)
class User:
    """One account of a server."""

    line: int
    remote: str | None = None
    names: list[LocalName] = field(default_factory=list)
    wildcard: bool = False
    options: list[Option] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Server:
    """One `poll`, `skip` or `defaults` entry."""

    name: str
    line: int
    skipped: bool = False
    options: list[Option] = field(default_factory=list)
    users: list[User] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Entries:
    """A whole file."""

    settings: list[Option] = field(default_factory=list)
    defaults: Server | None = None
    servers: list[Server] = field(default_factory=list)
    odd: list[Word] = field(default_factory=list)  # what stands where nothing of its kind may


def read_entries(source: str) -> Entries:
    """Read a .fetchmailrc."""
    return _Reading(words(source)).entries


class _Reading:
    """One pass over the words."""

    def __init__(self, found: Iterable[Word]) -> None:
        self._words = [*found, _END]
        self._at = 0
        self._server: Server | None = None
        self._user: User | None = None
        self.entries = Entries()
        while self._at < len(self._words) - 1:
            self._statement()

    def _next(self) -> Word:
        word = self._words[self._at]
        self._at = min(self._at + 1, len(self._words) - 1)
        return word

    def _is(self, *names: str) -> bool:
        word = self._words[self._at]
        return word.kind is Kind.WORD and keyword(word.text) in names

    def _statement(self) -> None:
        word = self._next()
        name = keyword(word.text) if word.kind is Kind.WORD else ""
        if name == "set":
            self._setting(word)
        elif name in ENTRIES:
            self._entry(name, word)
        elif self._server is None:
            self.entries.odd.append(word)
        elif name == "user":
            self._account(self._server, word)
        elif name in {"is", "to"}:
            self._names(self._of_user(word), word)
        else:
            self._option(self._server, name, word)

    def _setting(self, word: Word) -> None:
        negated = self._is("no")
        word = self._next() if negated else word
        word = self._next()
        name, on = word.text, not negated
        if name not in GLOBALS and name.removeprefix("no") in GLOBALS:
            name, on = name.removeprefix("no"), False
        if name not in GLOBALS:
            self.entries.odd.append(word)
            return
        values: tuple[str, ...] = ()
        if GLOBALS[name].takes is Takes.ONE:
            if self._words[self._at].kind is Kind.MAP:
                self._next()
            values = self._one()
        self.entries.settings.append(Option(name, values, word.line, on))

    def _entry(self, name: str, word: Word) -> None:
        called = "" if name == "defaults" else "".join(self._one())
        self._server, self._user = Server(name=called, line=word.line, skipped=name == "skip"), None
        if name == "defaults":
            self.entries.defaults = self._server
        else:
            self.entries.servers.append(self._server)

    def _account(self, server: Server, word: Word) -> None:
        """`user REMOTE`, `user REMOTE there`, or `user LOCAL… here`."""
        if self._user is None or self._user.remote or self._user.names:
            self._user = User(line=word.line)
            server.users.append(self._user)
        self._user.line = word.line  # options may stand before it
        names, wildcard = self._local_names()
        if self._is("here"):
            self._next()
            self._user.names, self._user.wildcard = names, wildcard
            return
        if self._is("there"):
            self._next()
        self._user.remote = names[0].here if names else None

    def _names(self, user: User, word: Word) -> None:
        """`is LOCAL… [here]`, `to LOCAL… [here]`, or `is REMOTE there`."""
        names, wildcard = self._local_names()
        if not names and not wildcard:
            self.entries.odd.append(word)
        if self._is("there"):
            self._next()
            user.remote = names[0].here if names else user.remote
            return
        if self._is("here"):
            self._next()
        user.names += names
        user.wildcard = user.wildcard or wildcard

    def _local_names(self) -> tuple[list[LocalName], bool]:
        names: list[LocalName] = []
        wildcard = False
        while self._is_value():
            word = self._next()
            if word.kind is Kind.STAR:
                wildcard = True
            elif self._words[self._at].kind is Kind.MAP:
                self._next()
                names.append(LocalName(word.text, "".join(self._one())))
            else:
                names.append(LocalName(word.text, word.text))
        return names, wildcard

    def _option(self, server: Server, name: str, word: Word) -> None:
        on = True
        if name == "no":
            word = self._next()
            name, on = keyword(word.text), False
        elif name not in KEYWORDS and keyword(name.removeprefix("no")) in KEYWORDS:
            name, on = keyword(name.removeprefix("no")), False
        known = KEYWORDS.get(name)
        if known is None or word.kind is not Kind.WORD:
            self.entries.odd.append(word)
            return
        option = Option(name, self._values(known.takes) if on else (), word.line, on)
        (server if known.of is Of.SERVER else self._of_user(word)).options.append(option)

    def _of_user(self, word: Word) -> User:
        """The first user of a server may go without the word `user`."""
        if self._user is None:
            self._user = User(line=word.line)
            if self._server is not None:
                self._server.users.append(self._user)
        return self._user

    def _values(self, takes: Takes) -> tuple[str, ...]:
        if takes is Takes.NOTHING:
            return ()
        if takes is Takes.ONE:
            return self._one()
        if takes is Takes.ENVELOPE:
            number = self._one() if self._words[self._at].kind is Kind.NUMBER else ("0",)
            return number + self._one()
        found: list[str] = []
        while self._is_value():
            found.append(self._next().text)
        return tuple(found)

    def _one(self) -> tuple[str, ...]:
        """Return the next word as a value, whatever it is; nothing at the end."""
        return (self._next().text,) if self._at < len(self._words) - 1 else ()

    def _is_value(self) -> bool:
        word = self._words[self._at]
        if self._at == len(self._words) - 1 or word.kind is Kind.MAP:
            return False
        return word.kind is not Kind.WORD or not is_keyword(word.text)
