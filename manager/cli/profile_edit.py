"""`pps profile add` and `edit`: settings from options, and on a terminal from answers."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from manager.cli.asking import agreed, ask, ask_password, on_terminal, password_from_stdin
from manager.cli.options import DEFAULT_CONFIG, ConfigOption
from manager.cli.profile import NameArgument, StdinOption, tell_left_behind

if TYPE_CHECKING:
    from common.config import Config
    from common.failures import PpsError
    from common.profile import Profile
    from common.secrets import Secret

ServerOption = Annotated[
    str | None, typer.Option(metavar='"HOST PORT[s]"', help="The server; with an s after the port, TLS at once.")
]
UserOption = Annotated[str | None, typer.Option(metavar="U", help="The account.")]
PasswordOption = Annotated[
    str | None, typer.Option(metavar="REF", help="env:NAME, file:PATH, command:COMMAND or credential:NAME.")
]
LocalUserOption = Annotated[str | None, typer.Option(metavar="U", help="Who gets what names no local user.")]
LocalDomainOption = Annotated[list[str] | None, typer.Option(metavar="D", help="A local domain; repeatable.")]
DistributeOption = Annotated[
    bool | None, typer.Option("--distribute/--no-distribute", help="Distribute by To and Cc.", show_default=False)
]
IntervalOption = Annotated[str | None, typer.Option(metavar="TIME", help="From one poll to the next: 10m.")]
TargetOption = Annotated[str | None, typer.Option(metavar="NAME", help="The [target.NAME] that takes the mail.")]
TlsOption = Annotated[str | None, typer.Option(metavar="auto|implicit|starttls|none", help="How to encrypt.")]
CaOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Certificates to trust.")]
KeepOption = Annotated[
    bool | None, typer.Option("--keep/--no-keep", help="Leave mail on the server.", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key of [[profile]]; repeatable.")
]

_QUESTIONS: Final = {
    "server": 'Server ("HOST PORT"; with an s after the port, as in 995s, TLS at once)',
    "user": "Account",
    "local_domain": "Local domains, to distribute mail by To and Cc (empty: one user gets it all)",
    "local_user": "Local user who gets what names nobody",
    "target": "Target",
}


def add(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What to call it.")] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    server: ServerOption = None,
    user: UserOption = None,
    password: PasswordOption = None,
    password_stdin: StdinOption = False,
    local_user: LocalUserOption = None,
    local_domain: LocalDomainOption = None,
    distribute: DistributeOption = None,
    interval: IntervalOption = None,
    target: TargetOption = None,
    tls: TlsOption = None,
    ca: CaOption = None,
    keep: KeepOption = None,
    others: SetOption = None,
    trial: Annotated[
        bool | None, typer.Option("--test/--no-test", help="Try it before it is saved.", show_default=False)
    ] = None,
) -> int:
    """Add a profile, which the ledger keeps, not the file. On a terminal, what isn't given is asked for."""
    from common.config import load_config

    given = _given(locals())
    checked = load_config(config)
    typed = password_from_stdin() if password_stdin else None
    answers = _defaults(checked) | given
    if "name" in answers:
        _require_new(checked, answers["name"])
    typed = _complete(checked, given, answers, typed)
    profile = _settings(answers)
    if trial is None:
        trial = on_terminal() and agreed("Try it now, before it is saved? No mail is touched.", default=True)
    while trial and (failure := _failure(checked, profile, typed)) is not None:
        if _trusted(failure, answers):
            profile = _settings(answers)
        elif agreed("Change the answers, and try again?", default=True):
            typed = _ask_again(checked, answers) or typed
            profile = _settings(answers)
        elif agreed("Save it nevertheless?", default=False):
            break
        else:
            return 1
    return _save(checked, profile, typed, new=True, same_mailbox=None)


def _require_new(config: "Config", name: str) -> None:
    """Raise UsageError for a name that is taken: before all else is asked, not after it."""
    from manager.profiles import require_new

    asyncio.run(require_new(config, name))


def _failure(config: "Config", profile: "Profile", typed: "Secret | None") -> "PpsError | None":
    """Try a profile before it is saved, and tell what was found. Raises PpsError where nobody is there to decide."""
    from common.failures import PpsError
    from manager.cli.profile_trial import tell
    from manager.trial import try_profile

    try:
        tell(asyncio.run(try_profile(config, profile, known=None, typed=typed)), err=True)
    except PpsError as error:
        if not on_terminal():
            raise
        typer.echo(f"  {error}", err=True)
        return error
    return None


def _trusted(failure: "PpsError", answers: dict[str, Any]) -> bool:
    """Whether the trial failed for a certificate that is to be trusted from now on, and no other."""
    from fetcher.tls import UntrustedError

    if not isinstance(failure, UntrustedError) or failure.fingerprint is None:
        return False
    if "ca" in answers:  # which must vouch for a pinned certificate, too: a pin would change nothing
        return False
    if not agreed("Trust this certificate from now on, and none but it?", default=False):
        return False
    answers["fingerprint"] = [failure.fingerprint]
    return True


def edit(  # noqa: PLR0913 (one parameter an option)
    name: NameArgument,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    server: ServerOption = None,
    user: UserOption = None,
    password: PasswordOption = None,
    password_stdin: StdinOption = False,
    local_user: LocalUserOption = None,
    local_domain: LocalDomainOption = None,
    distribute: DistributeOption = None,
    interval: IntervalOption = None,
    target: TargetOption = None,
    tls: TlsOption = None,
    ca: CaOption = None,
    keep: KeepOption = None,
    others: SetOption = None,
    same_mailbox: Annotated[
        bool | None,
        typer.Option(
            "--same-mailbox/--new-mailbox",
            help="Whether a new server or user is the same mailbox under another name.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Change a profile that `pps profile add` made. On a terminal, without options, each setting is asked for."""
    from common.config import load_config
    from common.failures import UsageError
    from manager.profiles import own

    given = _given(locals())
    del given["name"]
    checked = load_config(config)
    known = asyncio.run(own(checked, name, mend="change it"))
    typed = password_from_stdin() if password_stdin else None
    old = known.profile.model_dump(mode="json")
    answers = old | given
    if not given and typed is None:
        if not on_terminal():
            raise UsageError("profile edit: an option says what to change: no terminal to ask on")
        typed = _ask_again(checked, answers)
        interval = f"{answers['interval']}s"
        _ask(checked, answers, "interval", "Time from one poll to the next", default=interval)
    profile = _settings(answers)
    return _save(checked, profile, typed, new=False, same_mailbox=same_mailbox)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that the options give, as a `[[profile]]` section would have them."""
    from common.failures import UsageError
    from common.secrets import STORED
    from manager.profile_settings import further

    if options["password_stdin"] and options["password"] is not None:
        raise UsageError("--password-stdin and --password: one of them says where the password is")
    keys = {"name", "server", "user", "password", "local_user", "distribute", "interval", "target", "tls", "keep"}
    given = {key: options[key] for key in keys if options[key] is not None}
    if options["local_domain"]:
        given["local_domain"] = [domain for domain in options["local_domain"] if domain]  # "" : none
    if options["ca"] is not None:
        given["ca"] = str(options["ca"])
    if options["password_stdin"]:
        given["password"] = STORED
    return given | further(options["others"] or [])


def _defaults(config: "Config") -> dict[str, Any]:
    """Return what needs no question: the only target, whatever it is called."""
    return {"target": next(iter(config.targets))} if len(config.targets) == 1 else {}


def _complete(
    config: "Config", given: dict[str, Any], answers: dict[str, Any], typed: "Secret | None"
) -> "Secret | None":
    """Ask for what is missing; return the typed password, if it was asked for. Raises UsageError without a terminal."""
    from common.failures import UsageError
    from common.secrets import STORED
    from manager.profile_settings import NEEDED, option

    missing = [key for key in NEEDED if key not in answers and not (key == "password" and "oauth" in answers)]
    asks = bool(missing) or (given.get("password") == STORED and typed is None)
    if not asks:
        return typed
    if not on_terminal():
        words = [option(key) + (" (or --password-stdin)" if key == "password" else "") for key in missing]
        if not words:
            raise UsageError("profile add: --password stored needs --password-stdin: no terminal to ask on")
        raise UsageError(f"profile add: needs {', '.join(words)} too: no terminal to ask on")
    if "name" in missing:
        _ask(config, answers, "name", "Name of the profile")
    for key in ("server", "user"):
        if key in missing:
            _ask(config, answers, key, _QUESTIONS[key])
    if "oauth" not in answers and answers.get("password", STORED) == STORED and typed is None:
        answers["password"] = STORED
        typed = ask_password("Password (it is stored encrypted; --password takes a reference instead)")
    _ask_local_side(config, answers, {key for key in _QUESTIONS if key not in answers})
    return typed


def _ask_again(config: "Config", answers: dict[str, Any]) -> "Secret | None":
    """Ask for each setting with the present one as the default; return a new password, if one was typed."""
    from common.secrets import STORED

    for key in ("server", "user"):
        _ask(config, answers, key, _QUESTIONS[key], default=answers[key])
    typed = None
    if agreed("Another password?", default=False):
        answers["password"] = STORED
        typed = ask_password("Password (it is stored encrypted)")
    _ask_local_side(config, answers, {"local_domain", "local_user", "target"})
    return typed


def _ask_local_side(config: "Config", answers: dict[str, Any], wanted: set[str]) -> None:
    if "local_domain" in wanted:
        default = " ".join(answers.get("local_domain", ()))
        question = _QUESTIONS["local_domain"] + (' ("-": none)' if default else "")
        domains = ask(question, lambda text: _check(config, "local_domain", _domains(text), answers), default=default)
        answers["local_domain"] = _domains(domains)
        answers["distribute"] = bool(answers["local_domain"])
    if "local_user" in wanted:
        whom = _QUESTIONS["local_user"] if answers.get("distribute") else "Local user who gets the mail"
        _ask(config, answers, "local_user", whom, default=answers.get("local_user"))
    if "target" in wanted and len(config.targets) > 1:
        question = f"{_QUESTIONS['target']} ({', '.join(config.targets)})"
        _ask(config, answers, "target", question, default=answers.get("target"))


def _domains(text: str) -> list[str]:
    return [] if text == "-" else text.replace(",", " ").split()


def _ask(config: "Config", answers: dict[str, Any], key: str, question: str, *, default: str | None = None) -> None:
    answers[key] = ask(question, lambda value: _check(config, key, value, answers), default=default)


def _check(config: "Config", key: str, value: object, answers: dict[str, Any]) -> None:
    from common.config_errors import nearest
    from common.failures import UsageError
    from manager.profile_settings import check_answer

    beside = {} if key == "local_domain" else answers  # whether to distribute follows from it
    check_answer(key, value, beside)
    if key == "name":
        _require_new(config, str(value))
    if key == "target" and value not in config.targets:
        raise UsageError(f"there is no [target.{value}]: {nearest(str(value), config.targets)}")


def _settings(answers: dict[str, Any]) -> "Profile":
    from manager.profile_settings import settings

    return settings(answers, current=Path.cwd())


def _save(config: "Config", profile: "Profile", typed: "Secret | None", *, new: bool, same_mailbox: bool | None) -> int:
    """Save it, asking whether the mailbox is the same where only a person knows."""
    from common.ledger.profiles import MailboxUnsaidError, ProfileChange
    from manager.profile_changes import save

    try:
        left = asyncio.run(save(config, ProfileChange(profile=profile, new=new, same_mailbox=same_mailbox), typed))
    except MailboxUnsaidError:
        if not on_terminal():
            raise
        same = agreed("Is that the same mailbox under a new name, so that its mails keep their history?", default=False)
        return _save(config, profile, typed, new=new, same_mailbox=same)
    tell_left_behind(left)
    sys.stdout.write(f"{profile.name}: {'added' if new else 'saved'}; `pps pull {profile.name}` polls it now\n")
    return 0
