"""`pps quarantine`: what can't go on without a person, and what the person decides; and `pps retry`, for what waits."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from common.counted import counted
from manager.cli import choosing
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config
    from common.ledger.stuck import Stuck, StuckItem
    from manager.decisions import Decided, Wish

DEFAULT_RATE = 20.0

NOTHING: Final = "nothing that fits waits"

_DONE: Final = {"retry": "set in motion again", "redirect": "redirected", "discard": "discarded"}


def build() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(name="quarantine", help="See and decide what can't go on without a person.")
    for command in (list_, show, retry, redirect, discard):
        group.command(command.__name__.rstrip("_"))(command)
    return group


def list_(  # noqa: PLR0913 (one for each option)
    ids: choosing.Ids = None,
    *,
    target: choosing.Target = None,
    profile: choosing.Profile = None,
    recipient: choosing.Recipient = None,
    reason: choosing.Reason = None,
    older_than: choosing.OlderThan = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """List what is in quarantine, with the target's own words; the oldest first."""
    wanted = choosing.filter_of(
        ids, target=target, profile=profile, recipient=recipient, reason=reason, older_than=older_than
    )
    items = _found(config, wanted)
    if as_json:
        typer.echo(json.dumps({"items": [document_of(item) for item in items]}))
    elif items:
        _print(items)
    else:
        typer.echo("nothing waits for a person" if wanted.is_empty else NOTHING)
    return 0


def show(
    mail: Annotated[str, typer.Argument(metavar="ID", help="A mail's or delivery's id, or how it begins.")],
    *,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Show one mail in quarantine: who was to get it, what was said, and its header where its bytes are here."""
    from common.config import load_config
    from common.failures import UsageError
    from manager.decisions import header_of

    items = _found(config, _by_id(mail))
    mails = {item.mail_id for item in items}
    if len(mails) != 1:
        raise UsageError(f"{mail}: {len(mails)} mails in quarantine begin so: pps quarantine list names them")
    header = asyncio.run(header_of(load_config(config), mails.pop()))
    lines = [] if header is None else header.decode(errors="replace").splitlines()
    if as_json:
        typer.echo(json.dumps({"items": [document_of(item) for item in items], "header": lines or None}))
        return 0
    for item in items:
        _show(item)
    typer.echo("\nheader:" if lines else "\nits bytes are on the remote server only")
    for line in lines:
        typer.echo(f"  {_tidy(line)}".rstrip())
    return 0


def retry(  # noqa: PLR0913 (one for each option)
    ids: choosing.Ids = None,
    *,
    target: choosing.Target = None,
    profile: choosing.Profile = None,
    recipient: choosing.Recipient = None,
    reason: choosing.Reason = None,
    older_than: choosing.OlderThan = None,
    everything: choosing.All = False,
    dry_run: choosing.DryRun = False,
    rate: choosing.Rate = DEFAULT_RATE,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Deliver it again: the same delivery, with five days anew."""
    from common.ledger.deciding import Verb
    from manager.decisions import Wish

    wanted = choosing.filter_of(
        ids, target=target, profile=profile, recipient=recipient, reason=reason, older_than=older_than
    )
    wanted = choosing.named(wanted, everything=everything)
    return _carry_out(config, wanted, Wish(verb=Verb.RETRY, rate=rate), dry_run=dry_run, as_json=as_json)


def redirect(  # noqa: PLR0913 (one for each option)
    ids: choosing.Ids = None,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The local user who gets it instead.")],
    via: Annotated[str | None, typer.Option("--via", metavar="NAME", help="Through this target.")] = None,
    target: choosing.Target = None,
    profile: choosing.Profile = None,
    recipient: choosing.Recipient = None,
    reason: choosing.Reason = None,
    older_than: choosing.OlderThan = None,
    everything: choosing.All = False,
    dry_run: choosing.DryRun = False,
    rate: choosing.Rate = DEFAULT_RATE,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Give it to somebody else."""
    from common.addresses import local_user
    from common.failures import UsageError
    from common.ledger.deciding import Verb
    from manager.decisions import Wish

    wanted = choosing.filter_of(
        ids, target=target, profile=profile, recipient=recipient, reason=reason, older_than=older_than
    )
    wanted = choosing.named(wanted, everything=everything)
    try:
        wish = Wish(verb=Verb.REDIRECT, recipient=local_user(to), target=via, rate=rate)
    except ValueError as error:
        raise UsageError(f"--to: {error}") from error
    return _carry_out(config, wanted, wish, dry_run=dry_run, as_json=as_json)


def discard(  # noqa: PLR0913 (one for each option)
    ids: choosing.Ids = None,
    *,
    target: choosing.Target = None,
    profile: choosing.Profile = None,
    recipient: choosing.Recipient = None,
    reason: choosing.Reason = None,
    older_than: choosing.OlderThan = None,
    everything: choosing.All = False,
    dry_run: choosing.DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Throw it away: nobody gets it, and once no other recipient waits, the remote copy is deleted."""
    from common.ledger.deciding import Verb
    from manager.decisions import Wish

    wanted = choosing.filter_of(
        ids, target=target, profile=profile, recipient=recipient, reason=reason, older_than=older_than
    )
    wanted = choosing.named(wanted, everything=everything)
    return _carry_out(config, wanted, Wish(verb=Verb.DISCARD), dry_run=dry_run, as_json=as_json, sure=yes)


def retry_deferred(  # noqa: PLR0913 (one for each option)
    ids: choosing.Ids = None,
    *,
    target: choosing.Target = None,
    profile: choosing.Profile = None,
    recipient: choosing.Recipient = None,
    reason: choosing.Reason = None,
    older_than: choosing.OlderThan = None,
    everything: choosing.All = False,
    dry_run: choosing.DryRun = False,
    rate: choosing.Rate = DEFAULT_RATE,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Deliver now what waits for its next attempt.

    A target that is named is also believed again.

    `pps mails --deferred` shows what waits, with the target's words and the time of the next attempt.
    """
    from common.config import load_config
    from common.ledger.deciding import Verb
    from manager.decisions import Wish, believe

    wanted = choosing.filter_of(
        ids, target=target, profile=profile, recipient=recipient, reason=reason, older_than=older_than, deferred=True
    )
    wanted = choosing.named(wanted, everything=everything)
    if target is not None and not dry_run:
        asyncio.run(believe(load_config(config), target))
    return _carry_out(config, wanted, Wish(verb=Verb.RETRY, rate=rate), dry_run=dry_run, as_json=as_json)


def document_of(item: "StuckItem") -> dict[str, Any]:
    """Return what `--json` prints of an item."""
    from manager.cli.moments import iso

    return {
        "mail": item.mail_id,
        "delivery": item.delivery_id,
        "profile": item.profile,
        "state": item.state,
        "recipient": item.recipient,
        "target": item.target,
        "reason": item.reason,
        "named_by": item.named_by,
        "attempts": item.attempts,
        "size": item.size,
        "since": iso(item.since),
        "next_attempt": iso(item.next_attempt_at),
    }


def _carry_out(  # noqa: PLR0913 (two are options of every command)
    path: Path,
    wanted: "Stuck",
    wish: "Wish",
    *,
    dry_run: bool,
    as_json: bool,
    sure: bool = True,
) -> int:
    from common.config import load_config
    from manager.decisions import Decided, decide, find

    config: Config = load_config(path)
    items = asyncio.run(find(config, wanted))
    _require_clear(wanted, items)
    decided = Decided(items=tuple(items), done=0)
    if not dry_run and items:
        if not sure and not as_json:
            _print_counts(decided)
        if sure or _agreed(len(items)):
            decided = asyncio.run(decide(config, items, wish))
        elif not as_json:
            typer.echo(f"nothing was done: {counted(len(items), 'item')} left waiting")
            return 1
    if as_json:
        done = {"verb": wish.verb.value, "found": len(items), "done": decided.done, "dry_run": dry_run}
        typer.echo(json.dumps(done | {"items": [document_of(item) for item in items]}))
    elif dry_run:
        _print_counts(decided)
        typer.echo(f"{counted(len(items), 'item')}: nothing was done")
    else:
        typer.echo(_told(decided, wish))
    return 0 if items and (dry_run or decided.done) else 1


def _require_clear(wanted: "Stuck", items: list["StuckItem"]) -> None:
    """Raise UsageError for an ID that begins several mails': those of one poll begin alike, and a cut hits them all."""
    from common.failures import UsageError

    for one in wanted.ids:
        mails = {i.mail_id for i in items if i.mail_id.startswith(one) or (i.delivery_id or "").startswith(one)}
        if len(mails) > 1:
            raise UsageError(f"{one}: {len(mails)} mails that wait begin so: write more of the id, or choose otherwise")


def _told(decided: "Decided", wish: "Wish") -> str:
    if not decided.items:
        return NOTHING
    late = len(decided.items) - decided.done
    return f"{counted(decided.done, 'item')} {_DONE[wish.verb]}" + (f"; {late} no longer waited" if late else "")


def _agreed(count: int) -> bool:
    from common.failures import UsageError

    if not sys.stdin.isatty():
        raise UsageError("discard: nobody is there to ask: add --yes to throw it away unasked")
    return typer.confirm(f"Throw away {counted(count, 'item')}? The remote copies will be deleted", err=True)


def _found(path: Path, wanted: "Stuck") -> list["StuckItem"]:
    from common.config import load_config
    from manager.decisions import find

    return asyncio.run(find(load_config(path), wanted))


def _by_id(mail: str) -> "Stuck":
    return choosing.filter_of([mail], target=None, profile=None, recipient=None, reason=None, older_than=None)


def _print(items: list["StuckItem"]) -> None:
    from manager.cli.moments import local
    from manager.cli.tables import print_table

    rows = [
        [
            item.delivery_id or item.mail_id,
            local(item.since),
            item.profile,
            item.recipient or f"(whole mail {item.state})",
            item.target or "",
            item.reason,
        ]
        for item in items
    ]
    print_table(["id", "since", "profile", "recipient", "target", "reason"], rows)


def _print_counts(decided: "Decided") -> None:
    from manager.cli.tables import print_table

    rows = [[str(count), target, reason] for target, reason, count in decided.counts]
    if rows:
        print_table(["count", "target", "reason"], rows)


def _show(item: "StuckItem") -> None:
    for name, value in document_of(item).items():
        if value not in {None, ""}:
            typer.echo(f"{name.replace('_', ' '):<13}{_tidy(str(value))}")


def _tidy(text: str) -> str:
    from common.messages import one_line

    return one_line(text, 1000)
