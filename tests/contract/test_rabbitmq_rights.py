"""The rights that each role is given: enough for its work, no more, and what is missing is named; on a real node."""

import asyncio
from dataclasses import replace
from typing import Final
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from common.connect import connect_broker
from common.failures import PpsError
from common.rabbitmq.address import parse_address
from common.rabbitmq.channel import CLOSE_SECONDS, REPLY_SECONDS
from common.rabbitmq.layout import ACCOUNTS, MONITOR, ROLES, Rights, rights_of, user_of
from common.rabbitmq.line import Line
from common.rabbitmq.rights import EXCHANGE, Lack, Permit, lacks_of
from tests.contract.inbox import Inbox
from tests.reference.definitions import DEFINITIONS, PERMISSIONS
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rabbitmq_users import User, change_rights, put_users

RECOVERY_SECONDS: Final = 60
LOCAL: Final = jobs_queue("local")
NOTHING: Final = "^$"


def user_with(rights: Rights) -> User:
    """Return a user that nobody else has."""
    return User(name=f"user-{uuid4().hex[:8]}", password="canary-rights", rights=rights)


async def lacks(server: RabbitMQ, user: User, *roles: str) -> list[Lack]:
    """Return what the user lacks for these roles."""
    permit = Permit(address=parse_address(user.url(server)), role="test")
    line = Line(permit, purpose="ask", log=structlog.get_logger())
    await line.open()
    try:
        return await lacks_of(await line.connection(), roles, ["local"])
    finally:
        await line.close()


def lack(right: str, *resources: str) -> list[Lack]:
    """Return the lack of one right to each of these."""
    return [Lack(right=right, resource=resource) for resource in resources]


async def test_a_role_starts_under_an_alarm(rabbitmq: RabbitMQ) -> None:
    """RabbitMQ answers nobody who publishes meanwhile, and outcomes have to be settled all the same."""
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        async with asyncio.timeout(REPLY_SECONDS - CLOSE_SECONDS):  # not by giving up
            broker = await connect_broker(rabbitmq.url, role="fetcher", log=structlog.get_logger(), targets=["local"])
        assert broker.blocked
        await broker.close()
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")


async def test_each_role_has_what_it_needs_and_nothing_of_the_others(rabbitmq: RabbitMQ) -> None:
    """A router can't read outcomes or jobs, a deliverer no fetched mail; who monitors can't even write."""
    users = {role: user_with(rights_of([role])) for role in (*ROLES, MONITOR)}
    await asyncio.to_thread(put_users, rabbitmq, *users.values())

    found = {(one, role): await lacks(rabbitmq, user, role) for one, user in users.items() for role in ROLES}

    assert found == {
        ("fetcher", "fetcher"): [],
        ("fetcher", "router"): lack("read", FETCHED),
        ("fetcher", "deliverer"): lack("read", LOCAL),
        ("router", "fetcher"): [*lack("configure", OUTCOMES), *lack("read", OUTCOMES)],
        ("router", "router"): [],
        ("router", "deliverer"): [*lack("configure", OUTCOMES), *lack("read", LOCAL)],
        ("deliverer", "fetcher"): [*lack("configure", FETCHED), *lack("read", OUTCOMES)],
        ("deliverer", "router"): [*lack("configure", FETCHED), *lack("read", FETCHED)],
        ("deliverer", "deliverer"): [],
        (MONITOR, "fetcher"): [
            *lack("configure", FETCHED, OUTCOMES, LOCAL, DEAD),
            *lack("write", EXCHANGE),
            *lack("read", OUTCOMES),
        ],
        (MONITOR, "router"): [
            *lack("configure", FETCHED, LOCAL, DEAD),
            *lack("write", EXCHANGE),
            *lack("read", FETCHED),
        ],
        (MONITOR, "deliverer"): [
            *lack("configure", OUTCOMES, LOCAL, DEAD),
            *lack("write", EXCHANGE),
            *lack("read", LOCAL),
        ],
    }


async def test_asking_for_rights_makes_no_queue_and_takes_no_message(rabbitmq: RabbitMQ) -> None:
    """Neither of a queue that isn't there nor of one with a message in it."""
    user = user_with(rights_of(ROLES))
    await asyncio.to_thread(put_users, rabbitmq, user)
    full, absent = uuid4().hex, uuid4().hex
    broker = await connect_broker(rabbitmq.url, role="test", log=structlog.get_logger())
    await broker.publish(jobs_queue(full), b"stays", message_id="1")

    asking = await connect_broker(
        user.url(rabbitmq), role="deliverer", log=structlog.get_logger(), targets=[full, absent]
    )
    await asking.close()

    inbox = Inbox()
    await broker.consume(jobs_queue(full), inbox, prefetch=1)
    assert await inbox.holds(1) == [b"stays"]
    queues = await asyncio.to_thread(rabbitmq.ctl, "list_queues", "--vhost", "pps", "name")
    assert jobs_queue(full) in queues.split()
    assert jobs_queue(absent) not in queues.split()
    await broker.close()


@pytest.mark.parametrize(
    ("right", "named"),
    [("configure", f"configure {OUTCOMES}"), ("write", f"write {EXCHANGE}"), ("read", f"read {LOCAL}")],
)
async def test_a_role_without_a_right_does_not_start(rabbitmq: RabbitMQ, right: str, named: str) -> None:
    """One line: user, right, queue, vhost, and the command that gives just what the role needs; no password."""
    whole = rights_of(["deliverer"])
    user = user_with(replace(whole, **{right: NOTHING if right != "configure" else r"^pps\.(dead|jobs\..+)$"}))
    await asyncio.to_thread(put_users, rabbitmq, user)

    with pytest.raises(PpsError) as failure:
        await connect_broker(user.url(rabbitmq), role="deliverer", log=structlog.get_logger(), targets=["local"])

    assert str(failure.value) == (
        f"[service] broker: user '{user.name}' lacks the right to {named} in vhost 'pps': "
        f"rabbitmqctl set_permissions -p pps {user.name} {whole}"
    )


async def test_a_right_that_is_taken_away_is_named_until_it_is_back(rabbitmq: RabbitMQ) -> None:
    """A worker that runs says which one is missing, tries on, and works again once somebody gave it."""
    users = {right: user_with(rights_of(ROLES)) for right in ("configure", "write", "read")}
    await asyncio.to_thread(put_users, rabbitmq, *users.values())
    brokers = {
        right: await connect_broker(user.url(rabbitmq), role="router", log=structlog.get_logger())
        for right, user in users.items()
    }
    queues, inboxes = {right: jobs_queue(uuid4().hex) for right in users}, {right: Inbox() for right in users}
    for right, broker in brokers.items():
        await broker.consume(queues[right], inboxes[right], prefetch=5)
    resources = queues | {"write": EXCHANGE}
    named = {
        f"user '{user.name}' lacks the right to {right} {resources[right]} in vhost 'pps': "
        f"rabbitmqctl set_permissions -p pps {user.name} {rights_of(['router'])}"
        for right, user in users.items()
    }
    less = {user.name: replace(rights_of(ROLES), **{right: NOTHING}) for right, user in users.items()}
    with capture_logs() as lines:
        await asyncio.to_thread(change_rights, rabbitmq, less)
        sending = [
            asyncio.create_task(broker.publish(queues[right], b"late", message_id="1"))
            for right, broker in brokers.items()
        ]
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not named <= {line.get("reason") for line in lines}:  # noqa: ASYNC110 (a log tells nobody)
                await asyncio.sleep(0.02)
        await asyncio.to_thread(change_rights, rabbitmq, {name: rights_of(ROLES) for name in less})
        async with asyncio.timeout(RECOVERY_SECONDS):
            await asyncio.gather(*sending, *(inbox.knows({b"late"}) for inbox in inboxes.values()))
    assert "canary-rights" not in str(lines)
    for broker in brokers.values():
        await broker.close()


async def test_the_files_we_ship_can_be_imported_again(rabbitmq: RabbitMQ) -> None:
    """After an upgrade, say: each user has the rights of its role, and keeps its password."""
    users = {role: User(name=user_of(role, "pps"), password="canary-rights") for role in ACCOUNTS}
    await asyncio.to_thread(put_users, rabbitmq, *users.values())

    for path in (PERMISSIONS, DEFINITIONS, PERMISSIONS):
        await asyncio.to_thread(rabbitmq.ctl, "import_definitions", str(path))

    for role in ROLES:
        assert await lacks(rabbitmq, users[role], role) == []
        assert await lacks(rabbitmq, users[role], *ROLES) != []


async def test_a_queue_of_another_kind_is_named(rabbitmq: RabbitMQ) -> None:
    """Somebody made it by hand: a classic queue would lose mail's messages with its node."""
    name = uuid4().hex
    await asyncio.to_thread(
        rabbitmq.ctl,
        "eval",
        f'rabbit_amqqueue:declare(rabbit_misc:r(<<"pps">>, queue, <<"{jobs_queue(name)}">>), true, false, [], none, '
        '<<"test">>).',
    )

    with pytest.raises(PpsError) as failure:
        await connect_broker(rabbitmq.url, role="router", log=structlog.get_logger(), targets=[name])

    assert str(failure.value) == (
        f"[service] broker: queue {jobs_queue(name)} in vhost 'pps' is no quorum queue, or has arguments that PPS "
        f"gives none: delete it, and it is made anew: rabbitmqctl delete_queue --vhost pps {jobs_queue(name)}"
    )


async def test_who_monitors_may_look_at_dead_letters_alone(rabbitmq: RabbitMQ) -> None:
    """Of all queues, pps.dead is the one that a person needs to look into."""
    users = [user_with(rights_of([role])) for role in (MONITOR, "router")]
    await asyncio.to_thread(put_users, rabbitmq, *users)

    assert [await lacks(rabbitmq, user, MONITOR) for user in users] == [[], lack("read", DEAD)]
