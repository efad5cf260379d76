"""`pps queues`: the depth of each queue, and what nobody could read, on both brokers and from each place to look."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pika
import pytest

from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from tests.bad_input.calls import called
from tests.command import Ended, started
from tests.integration.service import Installation, catch_all, install, profile, wait_until
from tests.mails import mail
from tests.scraped import page
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.process import free_port
from tests.servers.rabbitmq import PASSWORD, USER, VHOST
from tests.servers.rabbitmq_managed import ADMIN, ADMIN_PASSWORD, ManagedRabbitMQ, managed

__all__ = ["managed"]  # a fixture that pytest finds here by name

LOCAL: Final = jobs_queue("local")
AMQP: Final = "off"
ADMIN_API: Final = f"http://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:"


@pytest.fixture
def node(managed: ManagedRabbitMQ) -> Iterator[ManagedRabbitMQ]:
    """Return a running node without any queue."""
    managed.start()
    yield managed
    for queue in managed.ask("GET", f"queues/{VHOST}"):
        managed.ask("DELETE", f"queues/{VHOST}/{queue['name']}")


def put(node: ManagedRabbitMQ, queue: str, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
    """Put messages into a queue, as anybody might who may write."""
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(headers=headers, delivery_mode=2))


def documents(there: Installation, *options: str) -> dict[str, Any]:
    """Return what `pps queues --json` prints."""
    ended = called(["queues", "--json", *options], there.folder)
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def by_name(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return one number of each queue."""
    return {queue["name"]: queue[key] for queue in document["queues"]}


def installed(node: ManagedRabbitMQ, folder: Path, api: str) -> Installation:
    """Return an installation on the node, with an empty ledger."""
    there = install(folder, broker=node.url, broker_api=api)
    assert called(["migrate"], folder).code == 0
    return there


LETTER: Final = {
    "reason": "not msgpack: FormatError",
    "queue": FETCHED,
    "octets": "3",
    "at": "2026-11-26T04:00:00.000Z",
}


@pytest.mark.parametrize("source", ["api", "amqp"])
def test_depths_and_dead_letters_are_told_from_both_places(node: ManagedRabbitMQ, tmp_path: Path, source: str) -> None:
    """From the management API, which knows what is in hand and every queue; else by passive declare."""
    there = installed(node, tmp_path, f"{ADMIN_API}{node.api_port}" if source == "api" else AMQP)
    put(node, FETCHED, b"one", b"two")
    put(node, DEAD, b"???", headers=LETTER)
    put(node, DEAD, b"by hand")
    put(node, jobs_queue("gone"), b"left over")

    ready = {FETCHED: 2, LOCAL: 0, OUTCOMES: 0, DEAD: 2} | ({jobs_queue("gone"): 1} if source == "api" else {})
    wait_until(lambda: by_name(documents(there), "ready") == ready)  # the API counts twice a second
    found = documents(there)

    assert (found["broker"], found["source"]) == ("rabbitmq", source)
    assert by_name(found, "consumers")[FETCHED] == 0
    assert by_name(found, "unacked")[FETCHED] == (0 if source == "api" else None)
    assert by_name(found, "note")[LOCAL] == "isn't there yet"
    assert found["dead"]["letters"] == [
        {**LETTER, "octets": 3},
        {"reason": "put there by hand: it has no reason", "queue": "", "octets": None, "at": None},
    ]
    shown = called(["queues"], tmp_path).out
    assert "nobody takes from it" in shown
    assert "not msgpack: FormatError" in shown
    assert by_name(documents(there), "ready")[DEAD] == 2  # what was looked at is there as before
    assert PASSWORD not in shown


def test_dead_letters_are_forgotten_when_somebody_says_so(node: ManagedRabbitMQ, tmp_path: Path) -> None:
    """By AMQP, with the right to read pps.dead; again, and nothing is left to forget."""
    there = installed(node, tmp_path, AMQP)
    put(node, DEAD, b"1", b"2", headers=LETTER)

    refused = called(["queues", "purge-dead"], tmp_path)
    first, second = (called(["queues", "purge-dead", "--yes"], tmp_path) for _ in range(2))

    assert (refused.code, refused.err) == (
        2,
        "pps: queues purge-dead: --yes says that they may go: no terminal to ask on\n",
    )
    assert (first.code, first.out) == (0, "2 messages forgotten\n")
    assert (second.code, second.out) == (0, "0 messages forgotten\n")
    assert documents(there)["dead"]["count"] == 0


def test_who_may_not_read_dead_letters_is_told_and_sees_the_rest(node: ManagedRabbitMQ, tmp_path: Path) -> None:
    """A role's own user has no right to them: their number is known, and why no more is."""
    there = installed(node, tmp_path, AMQP)
    put(node, DEAD, b"1", headers=LETTER)
    node.ask("PUT", "users/reader", {"tags": "", "password": "pw"})
    rights = {"configure": r"^pps\.", "write": "^$", "read": r"^pps\.fetched$"}
    node.ask("PUT", f"permissions/{VHOST}/reader", rights)
    install(tmp_path, broker=f"amqp://reader:pw@127.0.0.1:{node.port}/{VHOST}", broker_api=AMQP)

    found = documents(there)

    assert (found["dead"]["count"], found["dead"]["letters"]) == (1, [])
    assert f"user 'reader' lacks the right to read {DEAD}" in found["dead"]["unseen"]


def test_without_the_api_the_reason_is_told(node: ManagedRabbitMQ, tmp_path: Path) -> None:
    """Nothing answers at the usual port, or the user may not ask: depths are there all the same."""
    put(node, FETCHED, b"one")
    there = installed(node, tmp_path, f"http://127.0.0.1:{free_port()}")
    closed = documents(there)
    install(tmp_path, broker=node.url, broker_api=f"http://{USER}:{PASSWORD}@127.0.0.1:{node.api_port}")
    refused = documents(there)

    assert "nothing answers there: rabbitmq-plugins enable" in closed["note"]
    assert f"user '{USER}' may not ask: rabbitmqctl set_user_tags {USER} monitoring" in refused["note"]
    assert [by_name(one, "ready")[FETCHED] for one in (closed, refused)] == [1, 1]
    assert PASSWORD not in str(refused)


def test_an_api_behind_a_firewall_is_soon_left(node: ManagedRabbitMQ, tmp_path: Path) -> None:
    """It takes the connection and says nothing: the queues are asked instead, and RabbitMQ isn't called away."""
    put(node, FETCHED, b"one")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = installed(node, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = documents(there)
        status = json.loads(called(["status", "--json"], tmp_path).out)

    assert (found["source"], by_name(found, "ready")[FETCHED]) == ("amqp", 1)
    assert "no answer within 3 s: check host, port and firewall" in found["note"]
    assert by_name(status["queues"], "ready")[FETCHED] == 1
    assert "broker" not in {one["what"] for one in status["troubles"]}


def test_watching_goes_on_while_rabbitmq_is_away(tmp_path: Path) -> None:
    """In a pipe, a document a look, and the reason is one; Ctrl-C is its only end."""
    port = free_port()
    install(tmp_path, broker=f"amqp://pps:canary@127.0.0.1:{port}/pps", broker_api=AMQP)
    assert called(["migrate"], tmp_path).code == 0

    with started("queues", "--watch", "--json", folder=tmp_path) as command:
        assert command.stdout is not None
        lines = [json.loads(command.stdout.readline()) for _ in range(2)]
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=30) == 0
    once = called(["queues"], tmp_path)

    line = (
        f"pps.toml: [service] broker: 127.0.0.1:{port}: nothing listens there: check the port, and that RabbitMQ runs"
    )
    assert lines == [{"error": line}] * 2
    assert (once.code, once.err) == (1, f"pps: {line}\n")


def test_of_the_embedded_broker_the_ledger_tells(mailbox: Mailbox, tmp_path: Path) -> None:
    """The queues are in another process's memory, or in none: what is on its way is counted, and since when."""
    mailbox.plant(mail())
    there = install(tmp_path, profile(mailbox), to=f"lmtp://127.0.0.1:{free_port()}", log="pop3.log")
    assert called(["migrate"], tmp_path).code == 0
    with there.running("run"):
        wait_until(lambda: by_name(documents(there), "ready")[LOCAL] == 1)
        found = documents(there)

    assert (found["broker"], found["source"]) == ("memory", "ledger")
    assert "in the memory of `pps run`" in found["note"]
    assert by_name(found, "consumers")[LOCAL] is None
    assert by_name(found, "oldest")[LOCAL] < found["at"]
    assert found["dead"] == {"count": 0, "unseen": None, "letters": []}
    purged: Ended = called(["queues", "purge-dead", "--yes"], tmp_path)
    assert (purged.code, purged.out) == (1, "")


def test_where_it_shows_its_metrics_the_embedded_broker_tells_itself(mailbox: Mailbox, tmp_path: Path) -> None:
    """`[service] http` with one port: consumers and what is in hand are known, too."""
    port = free_port()
    there = install(tmp_path, catch_all(mailbox), http=f"127.0.0.1:{port}")
    assert called(["migrate"], tmp_path).code == 0
    with there.running("run"):
        everybody = {FETCHED: 1, LOCAL: 1, OUTCOMES: 1, DEAD: None}
        seen: list[dict[str, Any]] = []

        def have_begun() -> bool:
            seen.append(documents(there))
            return by_name(seen[-1], "consumers") == everybody

        wait_until(have_begun)  # each in its own time
        found = seen[-1]
        assert page(port, "/live").status_code == 200

    assert (found["source"], found["note"]) == ("metrics", None)
    assert by_name(found, "ready") == {FETCHED: 0, LOCAL: 0, OUTCOMES: 0, DEAD: 0}


def test_status_has_a_summary_of_the_queues(node: ManagedRabbitMQ, tmp_path: Path) -> None:
    """A queue that nobody takes from, and what nobody could read, each with what to do; the table below."""
    there = installed(node, tmp_path, AMQP)
    put(node, FETCHED, b"one", b"two")
    put(node, jobs_queue("local"), b"three")
    put(node, DEAD, b"???", headers=LETTER)

    found = json.loads(called(["status", "--json"], tmp_path).out)
    shown = called(["status"], tmp_path).out.splitlines()

    told = {(one["what"], one["name"]): (one["count"], one["mend"].rpartition(": ")[2]) for one in found["troubles"]}
    assert told[("queue", FETCHED)] == (2, "pps router")
    assert told[("queue", LOCAL)] == (1, "pps deliverer")
    assert told[("dead", None)] == (1, "pps queues purge-dead")
    assert found["queues"] == {**documents(there), "at": found["queues"]["at"]}
    assert "! queue pps.fetched, 2 waiting: nobody takes from it" in shown
    assert any(line.startswith("! 1 dead for ") and line.endswith("not msgpack: FormatError") for line in shown)
    assert ["pps.dead", "1"] in [line.split() for line in shown]


def test_status_says_first_that_rabbitmq_is_away(tmp_path: Path) -> None:
    """The rest is there all the same: the ledger knows it."""
    port = free_port()
    install(tmp_path, broker=f"amqp://pps:canary@127.0.0.1:{port}/pps", broker_api=AMQP)
    assert called(["migrate"], tmp_path).code == 0

    ended = called(["status", "--json"], tmp_path)
    found = json.loads(ended.out)

    assert (ended.code, found["flowing"], found["queues"]) == (0, False, None)
    first = found["troubles"][0]
    assert (first["what"], first["mend"]) == ("broker", "look closer: pps doctor")
    assert first["reason"].startswith(f"[service] broker: 127.0.0.1:{port}: nothing listens there")
    assert "canary" not in ended.out


def test_status_of_one_process_counts_its_queues_by_the_ledger(mailbox: Mailbox, tmp_path: Path) -> None:
    """No table, which the targets' rows tell already; scripts find the same keys."""
    install(tmp_path, profile(mailbox))
    assert called(["migrate"], tmp_path).code == 0

    found = json.loads(called(["status", "--json"], tmp_path).out)

    assert (found["queues"]["broker"], found["queues"]["source"]) == ("memory", "ledger")
    assert by_name(found["queues"], "ready") == {FETCHED: 0, LOCAL: 0, DEAD: 0}
