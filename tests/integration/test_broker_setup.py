"""`pps broker setup` on a real node: all that PPS asks of RabbitMQ, made once, and a pipeline that needs no more."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from common.rabbitmq.layout import ACCOUNTS, ROLES, rights_of
from tests.bad_input.calls import called
from tests.command import Ended, started
from tests.integration.service import Installation, install, profile, wait_until
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.process import free_port
from tests.servers.rabbitmq import PASSWORD, USER
from tests.servers.rabbitmq_managed import ADMIN, ADMIN_PASSWORD, ManagedRabbitMQ, managed

__all__ = ["managed"]  # a fixture that pytest finds here by name

ENVIRONMENT: Final = {"ADMIN_PASSWORD": ADMIN_PASSWORD}
POLICIES: Final = {"pps-work", "pps-dead"}

_numbers = itertools.count(1)


class Setup:
    """A vhost of its own, that nobody has set up yet, on a node that several tests share."""

    def __init__(self, node: ManagedRabbitMQ, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.vhost = f"mail{next(_numbers)}"
        (folder / "pps.toml").write_text('[target.local]\nurl = "lmtp://127.0.0.1:24"\n')

    def run(self, *arguments: str) -> Ended:
        """Run `pps broker setup` as the administrator."""
        nodes = f"amqp://127.0.0.1:{self.node.port}/{self.vhost}"
        account = ("--user", ADMIN, "--password", "env:ADMIN_PASSWORD")
        return called(
            ["broker", "setup", "--nodes", nodes, "--api", self.node.api, *account, *arguments],
            self.folder,
            ENVIRONMENT,
        )

    def changes(self, *arguments: str) -> dict[str, str]:
        """Run it, and return what it changed."""
        ended = self.run("--json", *arguments)
        assert (ended.code, ended.err) == (0, "")
        return {change["what"]: change["does"] for change in json.loads(ended.out)["changes"]}

    def ask(self, method: str, path: str, document: object = None) -> Any:  # noqa: ANN401 (JSON)
        """Do by hand what an administrator might."""
        return self.node.ask(method, path, document)

    def url(self, role: str) -> str:
        """Return what was written for a role."""
        return (self.folder / "broker" / f"{role}.url").read_text().strip()


@pytest.fixture
def setup(managed: ManagedRabbitMQ, tmp_path: Path) -> Iterator[Setup]:
    """A vhost to be set up; it is removed afterwards."""
    managed.start()
    there = Setup(managed, tmp_path)
    yield there
    there.ask("DELETE", f"vhosts/{there.vhost}")


def test_setup_says_first_what_it_would_do_then_does_it_and_then_nothing(setup: Setup) -> None:
    """Vhost, policies, a user a role with its rights; passwords made here are in files for their owner alone."""
    would = setup.run("--dry-run")
    untouched = setup.ask("GET", f"vhosts/{setup.vhost}"), (setup.folder / "broker").exists()
    did = setup.run()
    again = setup.run()

    assert would.code == did.code == 0, (would, did)
    assert untouched == ({"error": "Object Not Found", "reason": "Not Found"}, False)
    names = [f"vhost {setup.vhost}: is new", *(f"policy {name}: is new" for name in ("pps-work", "pps-dead"))]
    assert did.out.splitlines()[:3] == names
    assert [line.removeprefix("would change: ") for line in would.out.splitlines()[:3]] == names
    assert (again.code, again.out) == (0, "nothing to change\n")
    assert {one["name"] for one in setup.ask("GET", f"policies/{setup.vhost}")} == POLICIES
    rights = {one["user"]: one["read"] for one in setup.ask("GET", f"vhosts/{setup.vhost}/permissions")}
    assert rights[f"{setup.vhost}-router"] == r"^pps\.fetched$"
    for role in ACCOUNTS:
        path = setup.folder / "broker" / f"{role}.url"
        assert path.stat().st_mode & 0o777 == 0o600
        password = re.fullmatch(r"\w+://[\w-]+:([\w-]{32})@127\.0\.0\.1:\d+(/\w+)?\n", path.read_text())
        assert password is not None
        assert password[1] not in did.out + did.err + again.out


def test_what_somebody_changed_is_put_right_and_no_more(setup: Setup) -> None:
    """A policy, a right, a tag, a password: each is named; what is as it should be isn't touched."""
    setup.run()
    work = f"policies/{setup.vhost}/pps-work"
    setup.ask("PUT", work, {"pattern": "^pps", "apply-to": "queues", "definition": {"delivery-limit": 20}})
    nothing = {"configure": ".*", "write": ".*", "read": ".*"}
    setup.ask("PUT", f"permissions/{setup.vhost}/{setup.vhost}-router", nothing)
    setup.ask("PUT", f"users/{setup.vhost}-monitor", {"tags": "management", "password": "another"})
    rights = rights_of(["router"])
    (setup.folder / "own").write_text("my-own")
    (setup.folder / "own").chmod(0o600)

    assert setup.changes("--account", "fetcher=file:own") == {
        "policy pps-work": r"delivery-limit 20 -> 1000000, pattern ^pps -> ^pps\.(fetched|outcomes|jobs\..+)$, "
        "priority 0 -> 10, queue-leader-locator none -> balanced",
        f"rights of {setup.vhost}-router": f"configure {rights.configure}, write {rights.write}, read {rights.read}",
        f"user {setup.vhost}-fetcher": "gets another password",
        f"user {setup.vhost}-monitor": "gets the tag monitoring and gets another password",
    }
    assert setup.changes("--account", "fetcher=file:own") == {}
    assert set(setup.ask("GET", f"users/{setup.vhost}-monitor")["tags"]) == {"management", "monitoring"}


def test_a_user_whose_password_is_not_known_here_keeps_it(setup: Setup) -> None:
    """Set up elsewhere, with files elsewhere: rights are compared, passwords left alone."""
    setup.run()
    stored = setup.ask("GET", f"users/{setup.vhost}-router")["password_hash"]
    setup.ask("PUT", f"users/{setup.vhost}-monitor", {"tags": "", "password": "kept"})
    kept = setup.ask("GET", f"users/{setup.vhost}-monitor")["password_hash"]

    assert setup.changes("--to", "elsewhere") == {f"user {setup.vhost}-monitor": "gets the tag monitoring"}
    assert setup.ask("GET", f"users/{setup.vhost}-router")["password_hash"] == stored
    assert setup.ask("GET", f"users/{setup.vhost}-monitor")["password_hash"] == kept
    assert not (setup.folder / "elsewhere").exists()


def test_a_run_that_was_cut_short_is_taken_up(setup: Setup) -> None:
    """The files were written, RabbitMQ had nothing yet: their passwords are the ones it gets."""
    setup.run()
    url = setup.url("router")
    setup.ask("DELETE", f"users/{setup.vhost}-router")

    changes = setup.changes()

    assert list(changes) == [f"user {setup.vhost}-router", f"rights of {setup.vhost}-router"]
    assert setup.url("router") == url
    assert setup.run().out == "nothing to change\n"


def test_each_role_works_as_its_own_user_with_no_more_than_its_rights(
    setup: Setup, mailbox: Mailbox, database: str
) -> None:
    """One pps.toml, three processes, each with the credential that systemd would give it; mail passes through all."""
    setup.run()
    for role in ROLES:
        (setup.folder / "credentials" / role).mkdir(parents=True)
        (setup.folder / "broker" / f"{role}.url").rename(setup.folder / "credentials" / role / "broker")
    mailbox.plant(mail(), mail(size=100_000))
    there = install(setup.folder, profile(mailbox, interval="10s"), ledger=database, broker="credential:broker")
    assert called(["migrate"], setup.folder).code == 0

    with ExitStack() as processes:
        for role in ROLES:
            credentials = {"CREDENTIALS_DIRECTORY": str(setup.folder / "credentials" / role)}
            processes.enter_context(started(role, folder=setup.folder, environment=credentials))
        wait_until(lambda: len(there.inbox("ann")) == 2 and not mailbox.remaining())

    assert not [line for line in there.events() if "lacks the right" in str(line)]
    users = {row["user"] for row in setup.ask("GET", "connections") if row.get("vhost") == setup.vhost}
    assert users <= {f"{setup.vhost}-{role}" for role in ROLES}


def test_one_user_may_play_all_roles(setup: Setup, mailbox: Mailbox) -> None:
    """`pps run` on RabbitMQ, with SQLite."""
    setup.run("--one-user")
    mailbox.plant(mail())
    there = install(setup.folder, profile(mailbox, interval="10s"), broker="file:broker/run.url")

    with there.running("run"):
        wait_until(lambda: len(there.inbox("ann")) == 1 and not mailbox.remaining())

    assert f"//{setup.vhost}:" in setup.url("run")


def test_files_of_another_vhost_are_left_alone(setup: Setup) -> None:
    """Two installations set up from one folder: the second would share passwords, and have no URL of its own."""
    setup.run()
    first, url = setup.vhost, setup.url("fetcher")
    setup.vhost = "another"

    ended = setup.run()

    assert (ended.code, ended.out) == (1, "")
    path = setup.folder / "broker" / "fetcher.url"
    assert ended.err == f"pps: {path}: is of user '{first}-fetcher' in vhost '{first}': name another folder with --to\n"
    assert setup.url("fetcher") == url
    assert setup.ask("GET", "vhosts/another")["error"] == "Object Not Found"
    setup.vhost = first


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--user", "nobody"], 1, "[service] broker_api: {api}: user 'nobody' or its password was refused"),
        (["--api", "http://127.0.0.1:{closed}"], 1, "[service] broker_api: http://127.0.0.1:{closed}: nothing answers"),
        (
            ["--api", "https://127.0.0.1:{port}"],
            1,
            "[service] broker_api: https://127.0.0.1:{port}: it doesn't speak TLS",
        ),
        (
            ["--api", "http://127.0.0.1:{amqp}"],
            1,
            "[service] broker_api: http://127.0.0.1:{amqp}: it doesn't answer as",
        ),
        (["--api", "amqp://127.0.0.1"], 2, "--api: is http[s]://[USER:PASSWORD@]HOST[:PORT]"),
        (["--nodes", "amqp://pps:canary@mq/pps"], 2, "--nodes: nodes and vhost without a user: amqp://HOST"),
        (["--account", "rooter=env:X"], 2, "--account: there is no role 'rooter': did you mean \"router\"?"),
        (["--account", "router=canary"], 2, "--account router: a password is given as a reference: env:NAME"),
        (["--account", "router=env:PPS_NONE"], 1, "--account router: env:PPS_NONE: the environment variable"),
        (["--password", "canary"], 2, "--password: a password is given as a reference"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(setup: Setup, arguments: list[str], code: int, said: str) -> None:
    """The option or the address, and the mend; nothing was changed, no password is shown."""
    places = {"closed": free_port(), "port": setup.node.api_port, "amqp": setup.node.port, "api": setup.node.api}
    ended = setup.run(*(argument.format(**places) for argument in arguments))

    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"pps: {said.format(**places)}"), ended.err
    assert ended.err.count("\n") == 1
    assert "canary" not in ended.err
    assert not (setup.folder / "broker").exists()


def test_who_is_no_administrator_is_told_which_tag_is_missing(setup: Setup) -> None:
    """Neither a user without tags nor one that only monitors may set up; the account may stand in the URL."""
    setup.ask("PUT", "users/watcher", {"tags": "monitoring", "password": "pw"})
    api = setup.node.api.removeprefix("http://")
    found = []
    for user, password in ((USER, PASSWORD), ("watcher", "pw")):
        nodes = f"amqp://127.0.0.1:{setup.node.port}/{setup.vhost}"
        ended = called(["broker", "setup", "--nodes", nodes, "--api", f"http://{user}:{password}@{api}"], setup.folder)
        found.append((ended.code, ended.err.partition("user ")[2]))

    assert found == [
        (1, f"'{USER}' may not ask: rabbitmqctl set_user_tags {USER} monitoring (or administrator, to set up)\n"),
        (1, "'watcher' is no administrator: rabbitmqctl set_user_tags watcher administrator\n"),
    ]


def diagnosis(setup: Setup, broker: str, api: str) -> list[tuple[str, str]]:
    """Return what `pps doctor` says of the broker: grades and words."""
    install(setup.folder, broker=broker, broker_api=api)
    document = json.loads(called(["doctor", "--json"], setup.folder).out)
    return [(check["grade"], check["says"]) for check in document["checks"] if check["area"] == "broker"]


def test_the_doctor_finds_all_well_after_a_setup(setup: Setup) -> None:
    """With a role's own user, and that of who monitors for what the role may not see."""
    setup.run()
    monitor = setup.url("monitor").replace("amqp://", "http://").partition("@")[0]

    assert diagnosis(setup, "file:broker/router.url", f"{monitor}@127.0.0.1:{setup.node.api_port}") == [
        ("ok", "answers; 0 messages wait"),
        ("ok", f"user '{setup.vhost}-router' has the rights of: router"),
        ("ok", "its policies are those that PPS asks for"),
    ]


def test_who_has_not_the_services_url_looks_as_the_monitor(setup: Setup) -> None:
    """A credential of systemd's is for the service alone: `pps queues` and the doctor have what broker_api leads to."""
    setup.run()

    found = diagnosis(setup, "credential:broker", "file:broker/monitor.url")
    called(["migrate"], setup.folder)
    shown = json.loads(called(["queues", "--json"], setup.folder).out)
    install(setup.folder, broker="credential:broker")
    alone = called(["queues"], setup.folder)

    assert [grade for grade, _ in found[:3]] == ["warning", "ok", "warning"]
    assert found[0][1].startswith("[service] broker: credential:broker: ")
    assert found[2][1] == f"user '{setup.vhost}-monitor' may look, and do no role's work"
    assert [queue["ready"] for queue in shown["queues"]] == [0] * 4
    assert (alone.code, alone.out) == (1, "")
    assert "[service] broker: credential:broker: " in alone.err


def test_the_doctor_names_what_differs_each_with_its_mend(setup: Setup) -> None:
    """A right that is missing, a policy that is gone, one of somebody else's before ours, a queue of another kind."""
    setup.run()
    name, admin = f"{setup.vhost}-fetcher", f"http://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{setup.node.api_port}"
    rights = {"configure": r"^pps\.", "write": r"^amq\.default$", "read": "^$"}
    setup.ask("PUT", f"permissions/{setup.vhost}/{name}", rights)
    setup.ask("DELETE", f"policies/{setup.vhost}/pps-dead")
    theirs = {"pattern": "^pps", "apply-to": "queues", "priority": 50, "definition": {"delivery-limit": 5}}
    setup.ask("PUT", f"policies/{setup.vhost}/theirs", theirs)
    setup.ask("PUT", f"queues/{setup.vhost}/pps.fetched", {"durable": True})
    quorum = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    setup.ask("PUT", f"queues/{setup.vhost}/pps.outcomes", quorum)
    wait_until(lambda: "theirs" in {one.get("policy") for one in setup.ask("GET", f"queues/{setup.vhost}")})

    found = [
        (grade, says.replace("arguments that PPS gives none: ", "").removesuffix(" (or: pps broker setup)"))
        for grade, says in diagnosis(setup, "file:broker/fetcher.url", admin)
    ]

    delete = f"delete it, and it is made anew: rabbitmqctl delete_queue --vhost {setup.vhost} pps.fetched"
    place = f"in vhost '{setup.vhost}'"
    assert [(grade, says.partition(": rabbitmqctl set_permissions")[0]) for grade, says in found] == [
        ("ok", "answers; 0 messages wait"),
        ("problem", f"[service] broker: as fetcher: queue pps.fetched {place} is no quorum queue, or has {delete}"),
        ("problem", f"[service] broker: as fetcher: user '{name}' lacks the right to read pps.outcomes {place}"),
        ("warning", f"policy pps-dead {place} is missing: pps broker setup"),
        ("problem", f"pps.fetched is a classic queue, not a quorum queue: {delete}"),
        ("warning", "policy theirs applies to pps.outcomes before pps-work: lower its priority, or its pattern"),
    ]


@pytest.mark.parametrize(
    ("api", "told"),
    [
        ("auto", [("ok", "its policies can't be seen: [service] broker_api: http://127.0.0.1:15672: nothing answers")]),
        (
            "http://127.0.0.1:{closed}",
            [("problem", "its policies can't be seen: [service] broker_api: http://127.0.0.1:")],
        ),
        (
            "{api}",
            [("problem", "its policies can't be seen: [service] broker_api: {api}: user '{vhost}-deliverer' may not")],
        ),
        (
            "env:PPS_NONE",
            [("problem", "[service] broker_api: env:PPS_NONE: the environment variable PPS_NONE isn't set")],
        ),
        ("off", []),
    ],
)
def test_the_doctor_says_why_it_cannot_see_policies(setup: Setup, api: str, told: list[tuple[str, str]]) -> None:
    """Nobody promised an API that is looked for by itself; one that was named must answer."""
    setup.run()
    places = {"closed": free_port(), "api": setup.node.api, "vhost": setup.vhost}

    found = diagnosis(setup, "file:broker/deliverer.url", api.format(**places))[2:]

    assert len(found) == len(told)
    for (grade, says), (expected, begins) in zip(found, told, strict=True):
        assert grade == expected
        assert says.startswith(begins.format(**places))


def test_the_embedded_broker_needs_no_setup(tmp_path: Path) -> None:
    """Where RabbitMQ is must be said somewhere."""
    Installation(folder=tmp_path)
    (tmp_path / "pps.toml").write_text('[target.local]\nurl = "lmtp://127.0.0.1:24"\n')

    ended = called(["broker", "setup"], tmp_path)

    assert (ended.code, ended.err.partition(": write")[0]) == (2, "pps: [service] broker: memory: needs no setup")
