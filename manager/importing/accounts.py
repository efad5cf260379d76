"""One account of a .fetchmailrc: a user of a server, with what `defaults` adds to both, and which option counts."""

from collections.abc import Iterator
from dataclasses import dataclass

from manager.importing.entries import Entries, Option, Server, User


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user of one server, with what `defaults` adds to both."""

    server: Server
    user: User
    entries: Entries
    defaults: Server | None

    def option(self, *names: str) -> Option | None:
        """Return the last of these options, of the account, else of the defaults."""
        return next((option for option in self.options() if option.name in names), None)

    def value(self, *names: str) -> str | None:
        """Return the value of the last of these options."""
        option = self.option(*names)
        return "".join(option.values[:1]) if option and option.on else None

    def on(self, name: str) -> bool:
        """Whether an option is switched on."""
        option = self.option(name)
        return option is not None and option.on

    def options(self) -> Iterator[Option]:
        """Walk through the options, the one that counts first."""
        yield from reversed(self.user.options)
        yield from reversed(self.server.options)
        if self.defaults:
            for user in self.defaults.users:
                yield from reversed(user.options)
            yield from reversed(self.defaults.options)

    def setting(self, name: str) -> Option | None:
        """Return the last `set` of this name."""
        return next((option for option in reversed(self.entries.settings) if option.name == name), None)

    def users(self) -> Iterator[User]:
        """Walk through whose local names count: the account's, with those of the defaults."""
        yield self.user
        if self.defaults:
            yield from self.defaults.users

    def all_values(self, name: str) -> list[str]:
        """Return the values of all options of this name."""
        return [value for option in self.options() if option.name == name for value in option.values]


def accounts_of(entries: Entries) -> Iterator[Account]:
    """Walk through the accounts of a file: each user of each server."""
    for server in entries.servers:
        spare = entries.defaults.users[:1] if entries.defaults else []
        for user in server.users or spare or [User(line=server.line)]:
            yield Account(server=server, user=user, entries=entries, defaults=entries.defaults)
