"""Wrong command lines."""

from typing import Final

from tests.bad_input.case import BadInput

ADHOC: Final = ("pull", "--server", "mail.example.com 995s", "--user", "u", "--local-user", "ann", "--to", "lmtp://mx")
PASSWORD: Final = ("--password", "env:PPS_TEST_PASSWORD")

COMMAND_LINES: Final = (
    BadInput(
        name="unknown command",
        arguments=("statsu",),
        prints="No such command 'statsu'. Did you mean 'status'?: see pps --help",
    ),
    BadInput(
        name="unknown option",
        arguments=("run", "--confg", "x"),
        prints="run: No such option: --confg (Possible options: --config): see pps run --help",
    ),
    BadInput(
        name="option without its value",
        arguments=("run", "--config"),
        prints="Option '--config' requires an argument: see pps --help",
    ),
    BadInput(
        name="value for a flag",
        arguments=("pull", "--json=yes"),
        prints="Option '--json' does not take a value: see pps --help",
    ),
    BadInput(
        name="one argument too many",
        arguments=("run", "extra"),
        prints="run: Got unexpected extra argument(s) (extra): see pps run --help",
    ),
    BadInput(
        name="unknown profile",
        arguments=("pull", "ofice"),
        prints='pps.toml: no profile "ofice": did you mean "office"?',
    ),
    BadInput(
        name="profile with a line break",
        arguments=("pull", "a\nb\x1b[2J"),
        prints='pps.toml: no profile "a b?[2J": known are office',
    ),
    BadInput(
        name="options of a pull, and a profile",
        arguments=(*ADHOC, *PASSWORD, "office"),
        prints="pull: either NAMEs of the file's profiles, or --server and its options",
    ),
    BadInput(
        name="some options of a pull",
        arguments=("pull", "--server", "mail.example.com 995s"),
        prints="pull: --server without a file needs --user, --password, --to, --local-user too",
    ),
    BadInput(
        name="password on the command line",
        arguments=(*ADHOC, "--password", "hunter2"),
        prints="--password: is a reference, never the secret itself: env:NAME, file:PATH, command:COMMAND or "
        "credential:NAME",
    ),
    BadInput(
        name="target's scheme with a typo",
        arguments=(*ADHOC[:-1], "lmpt://mx", *PASSWORD),
        prints="--to: 'lmpt' is no kind of target: did you mean 'lmtp'?",
    ),
    BadInput(
        name="distribute without a domain",
        arguments=(*ADHOC, *PASSWORD, "--distribute"),
        prints="--distribute needs --local-domain, the domains to distribute to",
    ),
    BadInput(
        name="a domain that isn't one",
        arguments=(*ADHOC, *PASSWORD, "--local-domain", "a_b..c"),
        prints="--local-domain: 'a_b..c' is not a domain",
    ),
    BadInput(
        name="unknown kind of encryption",
        arguments=(*ADHOC, *PASSWORD, "--tls", "ssl"),
        prints='--tls: "ssl" is not auto, implicit, starttls or none',
    ),
    BadInput(
        name="unknown kind of ledger",
        arguments=(*ADHOC, *PASSWORD, "--state", "sqllite:///x"),
        prints='--state: "sqllite:…" is not sqlite:///FILE or postgresql://USER@HOST/DATABASE: did you mean "sqlite:"?',
    ),
    BadInput(
        name="explain without a mail",
        arguments=("explain",),
        prints='explain: name files, or "-" for stdin, or --remote for the mails on the server',
    ),
    BadInput(
        name="explain a mail that isn't there",
        arguments=("explain", "none.eml", "--local-user", "ann"),
        prints="none.eml: No such file or directory",
        code=1,
    ),
    BadInput(
        name="explain a folder",
        arguments=("explain", ".", "--local-user", "ann"),
        prints=".: Is a directory",
        code=1,
    ),
    BadInput(
        name="local user that is none",
        arguments=("explain", "-", "--local-user", "a b"),
        prints="--local-user: 'a b' is not a user or user@domain",
    ),
    BadInput(
        name="init where a file lies",
        arguments=("init", "pps.toml"),
        prints="pps.toml: can't write it: File exists",
    ),
    BadInput(
        name="role of its own on SQLite",
        arguments=("router",),
        prints="pps.toml: [service] ledger: sqlite is for `pps run`, every role in one process: `pps router` needs "
        'ledger = "postgresql://USER@HOST/DATABASE" and broker = "amqp://USER:PASSWORD@HOST:5672/VHOST"',
    ),
)
