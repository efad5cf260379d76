"""`pps profile`: the profiles, where they come from, and switching them; in a running service at its next poll."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from common.counted import counted
from manager.cli.asking import agreed, ask_password, on_terminal, password_from_stdin
from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.ledger.profiles import LeftBehind
    from manager.profiles import Known

_HEADINGS: Final = ("profile", "server", "user", "password", "mail to", "target", "from", "state")
_LEFT_OUT: Final = frozenset({"password", "target", "from"})
"""What a narrow terminal doesn't show."""

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile.", autocompletion=complete_profile)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, and store it encrypted.")
]


def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> int:
    """Show all profiles: those of the file and those that `pps profile add` made."""
    from common.config import load_config
    from manager.profiles import known_profiles

    found = asyncio.run(known_profiles(load_config(config)))
    if as_json:
        typer.echo(json.dumps({"profiles": [one.document() for one in found]}))
        return 0
    from manager.cli.tables import is_narrow, print_table

    left_out = _LEFT_OUT if is_narrow() else ()
    rows = [{heading: cell for heading, cell in _row(one).items() if heading not in left_out} for one in found]
    headings = [heading for heading in _HEADINGS if heading not in left_out]
    print_table(headings, [list(row.values()) for row in rows])
    if any(not one.synced for one in found):
        typer.echo(
            "\nNot synced: `pps profile sync`, or the next `pps run` or `pps pull`, takes the file in.", err=True
        )
    return 0


def _row(known: "Known") -> dict[str, str]:
    from manager.profiles import shown

    one = known.profile
    to = f"{', '.join(one.local_domain)}, else {one.fallback}" if one.distribute else one.fallback
    waiting = known.stored.under_way if known.stored is not None else 0
    state = f"{known.state}, {waiting} under way" if waiting else known.state
    cells = (one.name, str(one.server), one.user, shown(one.password), to, one.target, known.managed_by, state)
    return dict(zip(_HEADINGS, cells, strict=True))


def enable(name: NameArgument, *, config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Poll a profile again; one that stopped after refused sign-ins is tried at once."""
    return _switch(name, config, mend="set enabled = true", enabled=True)


def disable(name: NameArgument, *, config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Poll a profile no more; what is fetched is still delivered."""
    return _switch(name, config, mend="set enabled = false", enabled=False)


def _switch(name: str, path: ConfigOption, *, mend: str, enabled: bool) -> int:
    from common.config import load_config
    from manager.profile_changes import require_apart, switch
    from manager.profiles import own

    checked = load_config(path)
    known = asyncio.run(own(checked, name, mend=mend))
    require_apart(checked, known.profile.model_copy(update={"enabled": enabled}))
    waiting = asyncio.run(switch(checked, name, enabled=enabled))
    typer.echo(f"{name}: enabled" if enabled else f"{name}: disabled{_on_their_way(waiting)}")
    return 0


def _on_their_way(mails: int) -> str:
    still = f"; {counted(mails, 'mail')} still under way: delivered all the same, or in quarantine until you decide"
    return still if mails else ""


def remove(name: NameArgument, *, config: ConfigOption = DEFAULT_CONFIG, yes: YesOption = False) -> int:
    """Remove a profile that `pps profile add` made. Mail on the server stays; what is fetched is still delivered."""
    from common.config import load_config
    from common.failures import UsageError
    from manager.profile_changes import switch
    from manager.profiles import own

    checked = load_config(config)
    known = asyncio.run(own(checked, name, mend="remove its [[profile]] section"))
    waiting = 0 if known.stored is None else known.stored.under_way
    question = f"Remove {name} ({known.profile.server}, {known.profile.user}){_on_their_way(waiting)}?"
    if not yes and not on_terminal():
        raise UsageError(f"profile remove: --yes says that {name} is to be removed: no terminal to ask on")
    if not yes and not agreed(question, default=False):
        typer.echo(f"{name}: stays")
        return 1
    waiting = asyncio.run(switch(checked, name, removed=True))
    typer.echo(f"{name}: removed{_on_their_way(waiting)}")
    return 0


def sync(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    same_mailbox: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Its new server or user is the same mailbox; repeatable."),
    ] = None,
    new_mailbox: Annotated[
        bool, typer.Option("--new-mailbox", help="Don't ask: a new server or user is another mailbox.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Bring the file's profiles into the ledger; a running service takes them at its next poll."""
    from common.config import load_config
    from manager.profile_changes import sync as sync_profiles
    from manager.profiles import moved_in_file
    from manager.reload import is_behind

    checked = load_config(config)
    same = set(same_mailbox or ())
    for name in same:
        checked.profile(name)
    for name in () if new_mailbox or not on_terminal() else asyncio.run(moved_in_file(checked)):
        if name not in same and agreed(f"{name}: another server or user. Is it the same mailbox?", default=False):
            same.add(name)
    left = asyncio.run(sync_profiles(checked, same))
    behind = is_behind(checked)
    if as_json:
        moved = [{"profile": name, "mails_stay_with": rest} for name, rest in left]
        typer.echo(
            json.dumps(
                {"profiles": [one.name for one in checked.profiles], "on_new_mailbox": moved, "needs_reload": behind}
            )
        )
        return 0
    tell_left_behind(left)
    count = len(checked.profiles)
    typer.echo(f"{counted(count, 'profile')} of {checked.path} {'is' if count == 1 else 'are'} in the ledger")
    if behind:
        typer.echo("[service] and [target.NAME], if they changed too, take effect with `pps reload`", err=True)
    return 0


def tell_left_behind(left: "LeftBehind") -> None:
    """Say where the mails of mailboxes stay that their profiles left."""
    for name, rest in left:
        typer.echo(
            f"{name}: is on another mailbox now; the mails of the old one stay as they are, under {rest}", err=True
        )


def password(name: NameArgument, *, config: ConfigOption = DEFAULT_CONFIG, password_stdin: StdinOption = False) -> int:
    """Ask for the password of a profile that says password = "stored", and store it encrypted."""
    from common.config import load_config
    from common.failures import UsageError
    from manager.profile_changes import store_password, with_stored_password

    checked = load_config(config)
    known = asyncio.run(with_stored_password(checked, name))
    if not password_stdin and not on_terminal():
        raise UsageError("profile password: --password-stdin reads it from a pipe: no terminal to ask on")
    typed = password_from_stdin() if password_stdin else ask_password(f"Password of {name}")
    asyncio.run(store_password(checked, known, typed))
    typer.echo(f"{name}: the password is stored, encrypted under [service] key")
    return 0


def reseal(*, config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Encrypt all stored passwords and OAuth 2 grants anew, under the newest of the keys in [service] key."""
    from common.config import load_config
    from manager.profile_changes import reseal as reseal_all

    count = asyncio.run(reseal_all(load_config(config)))
    typer.echo(f"{counted(count, 'stored secret')} encrypted under the newest key: older keys may go")
    return 0


def build() -> typer.Typer:
    """Return the tree of `pps profile`."""
    from manager.cli import profile_edit, profile_trial

    tree = typer.Typer(name="profile", help="Look at, add, change and try profiles.", rich_markup_mode=None)
    tree.command(name="list")(list_)
    tree.command()(profile_edit.add)
    tree.command()(profile_edit.edit)
    tree.command("test")(profile_trial.try_)
    for command in (remove, enable, disable, password, sync, reseal):
        tree.command()(command)
    return tree
