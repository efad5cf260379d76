"""PostgreSQL and RabbitMQ that are there and refuse: each missing right is named, with the command that gives it."""

import itertools
from typing import Final

from common.broker import FETCHED
from common.rabbitmq.layout import ROLES, Rights, rights_of
from tests.bad_input.case import CANARY, BadInput, configured
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ
from tests.servers.rabbitmq_users import User, put_users

_RIGHTS: Final = {"configure": ("^$", ".*", ".*"), "write": (".*", "^$", ".*"), "read": (".*", ".*", "^$")}
_COUNT: Final = itertools.count(1)


def refusals(postgres: Postgres, rabbitmq: RabbitMQ) -> tuple[BadInput, ...]:
    """Set both servers up, and return the cases; each is looked at by the first command that meets it."""
    return (*_of_postgres(postgres), *_of_rabbitmq(postgres, rabbitmq))


def _of_postgres(server: Postgres) -> list[BadInput]:
    url, number = server.fresh_database(), next(_COUNT)
    database = url.rpartition("/")[2]
    place = f"{server.host}:{server.port}"
    reader, locked = f"reader{number}", f"locked{number}"
    server.query(f"CREATE ROLE {reader} LOGIN PASSWORD '{CANARY}'; CREATE ROLE {locked} PASSWORD '{CANARY}'")
    server.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=database)
    no_right = (
        "GRANT the user what it lacks (to migrate, CREATE on the schema; to work, SELECT, INSERT, UPDATE and DELETE on "
        "its tables: deploy/postgresql/roles.sql does)"
    )
    bad_password = 'password authentication failed for user "pps": check user and password in the URL'
    no_login = (
        f'role "{locked}" is not permitted to log in: check the user in the URL, its LOGIN right, and pg_hba.conf'
    )
    gone = 'database "gone" does not exist: check the URL, or make it: createdb -O USER DATABASE'
    rows = (
        ("user or password of PostgreSQL", "pps", database, bad_password),
        ("user of PostgreSQL that may not log in", locked, database, no_login),
        ("database that isn't there", reader, "gone", gone),
        ("no right to make tables", reader, database, f"permission denied for schema public: {no_right}"),
    )
    return [
        BadInput(
            name=name,
            arguments=("migrate",),
            prints=f"[service] ledger: can't use {place}/{base}: {said}",
            code=1,
            set_up=configured(_service(f"postgresql://{user}:{CANARY}@{place}/{base}", "amqp://u:p@127.0.0.1:1/pps")),
        )
        for name, user, base, said in rows
    ]


def _of_rabbitmq(postgres: Postgres, server: RabbitMQ) -> list[BadInput]:
    number = next(_COUNT)
    place = f"127.0.0.1:{server.port}"
    stranger = f"stranger{number}"
    bad_password = f"{place}: user '{USER}' or its password was refused: check both in the URL"
    no_vhost = f"{place}: there is no vhost 'gone': check the URL, or run rabbitmqctl add_vhost"
    no_rights = f"{place}: user '{stranger}' may not use vhost '{VHOST}': run rabbitmqctl set_permissions"
    rows = [
        ("user or password of RabbitMQ", f"{USER}:{CANARY}", VHOST, bad_password),
        ("vhost that isn't there", f"{USER}:{PASSWORD}", "gone", no_vhost),
        ("no right to a vhost", f"{stranger}:{CANARY}", VHOST, no_rights),
    ]
    for right, first in (("configure", FETCHED), ("write", "amq.default"), ("read", FETCHED)):
        user = f"no-{right}{number}"
        mend = f"rabbitmqctl set_permissions -p {VHOST} {user} {rights_of(ROLES)}"
        said = f"user '{user}' lacks the right to {right} {first} in vhost '{VHOST}': {mend}"
        rows.append((f"no right to {right}", f"{user}:{CANARY}", VHOST, said))
    _add_users(server, number)
    migrated = BadInput(
        name="ledger without tables",
        arguments=("router",),
        prints="the ledger's database has no tables yet: run `pps migrate` once",
        code=1,
        set_up=configured(_service(postgres.fresh_database(), server.url)),
    )
    return [
        migrated,
        *(
            BadInput(
                name=name,
                arguments=("pull",),
                prints=f"[service] broker: {said}",
                code=1,
                set_up=configured(_service("sqlite:///pps.db", f"amqp://{account}@{place}/{vhost}")),
            )
            for name, account, vhost, said in rows
        ),
    ]


def _add_users(server: RabbitMQ, number: int) -> None:
    """Add one without any right, and one for each right, without that one."""
    strangers = [User(name=f"stranger{number}", password=CANARY)]
    others = [
        User(name=f"no-{right}{number}", password=CANARY, rights=Rights(configure=one, write=two, read=three))
        for right, (one, two, three) in _RIGHTS.items()
    ]
    put_users(server, *strangers, *others)


def _service(ledger: str, broker: str) -> str:
    return f'ledger = "{ledger}"\nbroker = "{broker}"'
