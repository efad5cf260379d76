"""`pps explain`: where each mail would go and why, now and under other settings."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config
    from common.profile import Profile
    from common.routing_policy import RoutingPolicy
    from manager.explanation import EnvelopeField, Explanation

STDIN: Final = "-"
LIMIT: Final = 50
MAX_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    """Whose mail it is: a profile, or just the policy that options give."""

    policy: "RoutingPolicy"
    profile: "Profile | None" = None
    config: "Config | None" = None  # that the profile is in


@dataclass(frozen=True, slots=True)
class Told:
    """One mail, explained; `then` under the settings it is compared with."""

    name: str
    now: "Explanation"
    then: "Explanation | None" = None

    @property
    def differs(self) -> bool:
        """Whether the mail would change hands."""
        return self.then is not None and set(self.then.recipients.addresses) != set(self.now.recipients.addresses)


def explain(  # noqa: PLR0913 (one parameter an option)
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help='Raw mails; "-" is stdin.')] = None,
    *,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As this profile would.", autocompletion=complete_profile),
    ] = None,
    local_domain: Annotated[list[str] | None, typer.Option(metavar="D", help="A local domain; repeatable.")] = None,
    local_user: Annotated[str | None, typer.Option(metavar="U", help="Who gets what names no local user.")] = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="The mails on the profile's server: reads headers, changes nothing.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_LIMIT, help="With --remote: at most so many, the newest.")
    ] = LIMIT,
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Show whose mail would change hands with this key; repeatable."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Show where each mail would go and why."""
    from common.failures import UsageError

    names, assignments = _apart(files or [], compare or [])
    source = _source(profile, local_domain or [], local_user, config)
    if remote == bool(names):
        raise UsageError(
            "explain: --remote reads from the server: leave out the files"
            if remote
            else 'explain: name files, or "-" for stdin, or --remote for the mails on the server'
        )
    other = _other(source, assignments) if assignments else None
    missing: list[str] = []
    told = _remote(source, other, limit) if remote else _told(names, source.policy, other, missing)
    if other is not None and not as_json:
        _print_comparison(list(told))
    else:
        for one in told:
            _print(one, as_json=as_json)
    return int(bool(missing))


def _apart(files: list[str], compare: list[str]) -> tuple[list[str], list[str]]:
    """Return files and KEY=VALUE apart: several may follow one --compare."""
    if not compare:
        return files, []
    from common.profile import Profile

    more = [name for name in files if name.partition("=")[0] in Profile.model_fields and "=" in name]
    return [name for name in files if name not in more], [*compare, *more]


def _source(profile: str | None, local_domain: list[str], local_user: str | None, config: Path) -> Source:
    from common.config import load_config
    from common.failures import UsageError
    from manager.adhoc import routing_policy

    if local_user is not None and profile is None:
        return Source(routing_policy(local_user, local_domain))
    if local_user is not None or local_domain:
        raise UsageError(
            "explain: --profile brings its own local users: leave out --local-domain and --local-user"
            if profile is not None
            else "explain: --local-domain needs --local-user, who gets mail that names no local user"
        )
    checked = load_config(config)
    found = _chosen(checked, profile)
    return Source(found.policy, found, checked)


def _chosen(config: "Config", name: str | None) -> "Profile":
    """Return the file's profile of this name, or the ledger's; without a name, the only one that there is."""
    from common.failures import UsageError
    from common.ledger.recorded import REMOVED
    from manager.profiles import known_profiles, named

    of_file = [one for one in config.profiles if one.name == name]
    if of_file:  # the ledger may be away
        return of_file[0]
    known = [one for one in asyncio.run(known_profiles(config)) if one.managed_by != REMOVED]
    if name is not None:
        return named(known, name, config).profile
    if len(known) != 1:
        raise UsageError(f"explain: {config.path} has {len(known)} profiles: choose with --profile NAME")
    return known[0].profile


def _other(source: Source, assignments: list[str]) -> "RoutingPolicy":
    """Return the policy of the profile with other keys."""
    from common.failures import UsageError
    from manager.comparison import changed_profile

    if source.profile is None:
        raise UsageError("explain: --compare changes keys of a profile: name one with --profile")
    return changed_profile(source.profile, assignments).policy


def _remote(source: Source, other: "RoutingPolicy | None", limit: int) -> Iterator[Told]:
    from common.failures import UsageError
    from manager.explanation import explain_header
    from manager.remote_headers import remote_headers

    if source.profile is None or source.config is None:
        raise UsageError("explain: --remote reads a profile's mailbox: name it with --profile")
    for mail in asyncio.run(remote_headers(source.config, source.profile, limit=limit)):
        uidl = (mail.uidl or b"").decode("ascii", "replace")
        now = explain_header(mail.header, source.policy, cut=mail.cut)
        then = None if other is None else explain_header(mail.header, other, cut=mail.cut)
        yield Told(f"{mail.number} {uidl}".rstrip(), now, then)


def _told(
    names: list[str], policy: "RoutingPolicy", other: "RoutingPolicy | None", missing: list[str]
) -> Iterator[Told]:
    from io import BytesIO

    from common.messages import MAX_HEADER
    from manager.explanation import explain_mail

    for name in names:
        try:
            beginning = _beginning(name, MAX_HEADER + 1)
        except OSError as error:
            missing.append(name)
            typer.echo(f"pps: {_shown(name)}: {error.strerror}", err=True)
            continue
        now = explain_mail(BytesIO(beginning), policy)
        yield Told(name, now, None if other is None else explain_mail(BytesIO(beginning), other))


def _beginning(name: str, octets: int) -> bytes:
    if name == STDIN:
        return _stdin().read(octets)
    with Path(name).open("rb") as file:
        return file.read(octets)


def _stdin() -> BinaryIO:
    return sys.stdin.buffer


def _print(told: Told, *, as_json: bool) -> None:
    if not as_json:
        typer.echo("\n".join(_lines(told.name, told.now)))
        return
    document: dict[str, Any] = told.now.document(told.name)
    if told.then is not None:
        document |= {"then": told.then.document(told.name), "differs": told.differs}
    typer.echo(json.dumps(document))


def _lines(name: str, explanation: "Explanation") -> Iterator[str]:
    yield _shown(name)
    if explanation.loop is not None:
        yield f"  set aside    {explanation.loop}"
    for one in explanation.recipients.recipients:
        place = f" (field {one.position})" if one.position else ""
        yield f"  {_shown(one.address)}    {_shown(one.reason)}{place}"
    if explanation.recipients.fallback:
        for address, field, position in explanation.passed_over:
            yield f"    passed over  {_shown(address)} in {field} (field {position}): not a user of local_domain"
    yield from map(_envelope_line, explanation.envelope)


def _envelope_line(field: "EnvelopeField") -> str:
    if field.believed:
        says = "believed"
    elif field.users:
        says = f"with {field.keys} it would be for {', '.join(field.users)}"
    else:
        says = "names no local user"
    return _shown(f"    {field.name}: {', '.join(field.addresses)} (field {field.position}): {says}")


def _print_comparison(told: list[Told]) -> None:
    from manager.cli.tables import print_table

    changed = [one for one in told if one.differs]
    if changed:
        print_table(
            ("mail", "now", "then", "because"),
            [
                (one.name, _people(one.now), _people(one.then), _because(one.then))
                for one in changed
                if one.then is not None
            ],
        )
    typer.echo(f"{len(changed)} of {len(told)} mails would change hands")


def _people(explanation: "Explanation | None") -> str:
    return "" if explanation is None else ", ".join(explanation.recipients.addresses)


def _because(explanation: "Explanation") -> str:
    return "; ".join(dict.fromkeys(one.reason for one in explanation.recipients.recipients))


def _shown(name: str) -> str:
    from common.messages import one_line

    return one_line(name)
