"""Single faults of server or target, with many mails about: each costs what it must, and nobody else anything."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deliverer.transaction import Deadlines
from fetcher import session, sweep
from tests.integration.service import install
from tests.integration.test_custody import at_work
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox, Quit
from tests.servers.smtp import CONTENT, DOT, GREETING, Act, Answer, SmtpServer
from tests.status import Status


async def test_what_is_poisonous_among_a_hundred_holds_up_nobody(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """NUL and broken UTF-8 in a UIDL are octets like others; a reply in broken UTF-8 is kept as it can be read."""
    mails = [mail(to="ann@local.example") for _ in range(99)] + [mail(to="bob@local.example")]
    stored = box.plant(*mails)
    stored[40].uidl, stored[41].uidl = b"nul\0in\0it", b"caf\xe9\xff\xc3"
    keys = {"local_domain": ["local.example"], "distribute": True}
    async with SmtpServer(lmtp=True) as target:
        target.replies("RCPT TO:<bob@", "554 5.7.1 caf\udce9 \udcff\udcc3 no\tmore")
        async with at_work(tmp_path, server, to=target.url, **keys) as (service, _):
            status = await service.serving.until(
                lambda status: status.profiles[0].mails == {"deleted": 99, "routed": 1}
            )

    assert len({delivered.content for delivered in target.deliveries}) == 99
    assert box.mails == stored[99:]
    (quarantined,) = status.quarantined
    assert quarantined.recipient == "bob@local.example"
    assert quarantined.reason.isprintable()
    assert quarantined.reason.startswith("554 5.7.1 caf")


@pytest.mark.parametrize("sizes", [(900, 900), (900, 1_000)])
async def test_swapped_uidls_delete_no_other_mail_and_double_none(
    server: Pop3Server, box: Mailbox, tmp_path: Path, sizes: tuple[int, int]
) -> None:
    """Both were delivered, and their deletion was lost; then each is listed under the other's name."""
    mails = [mail(size=size) for size in sizes]
    stored = box.plant(*mails)
    box.quit = Quit.LOST
    async with at_work(tmp_path, server) as (service, _):
        stored[0].uidl, stored[1].uidl = stored[1].uidl, stored[0].uidl
        box.quit = Quit.ANSWERED

        for _ in range(2):
            await service.poll()

        assert sorted(box.deleted) == sorted(mails)
        assert service.got(*mails)


FAULTY: dict[str, tuple[str, tuple[Answer, ...]]] = {
    "later": ("RCPT", ("450 4.2.0 come back later", "250 2.1.5 OK")),
    "closing": (CONTENT, ("421 4.3.2 shutting down", "250 go on")),
    "silent": (DOT, (Act.HANG, "250 2.0.0 Saved")),
    "dripping": (DOT, (Act.DRIP, "250 2.0.0 Saved")),
    "hanging-up": (GREETING, (Act.CUT, Act.CUT, "220 ready")),
}
"""What a target does wrong, once or twice, and then no more."""


async def test_each_faulty_target_holds_up_only_its_own_mail(
    server: Pop3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later, 421 amid DATA, silence after the dot, an octet now and then, no greeting: beside one that is well."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 2.0)
    monkeypatch.setattr("deliverer.make.Deadlines", lambda: Deadlines(dot=0.5))
    names = [*FAULTY, "well"]
    targets = {name: SmtpServer(lmtp=True) for name in names}
    profiles = []
    async with AsyncExitStack() as stack:
        for name, target in targets.items():
            await stack.enter_async_context(target)
            if name in FAULTY:
                step, answers = FAULTY[name]
                target.replies(step, *answers)
            server.mailbox(name).plant(mail(), mail())
            account = {"name": name, "server": server.server, "user": name, "password": f"file:{name}.secret"}
            profiles.append({**account, "local_user": "ann@local.example", "target": name, "interval": "1h"})
        urls = {name: {"url": target.url} for name, target in targets.items()}
        serving = await stack.enter_async_context(
            install(tmp_path, *profiles, password=PASSWORD, targets=urls).serving()
        )
        await serving.until(lambda status: _states(status, "well") == {"delivered": 2})
        await serving.until(lambda status: all(_states(status, name).get("deferred") for name in ("later", "silent")))
        await serving.until(
            lambda status: all(_states(status, name) == {"delivered": 2} for name in names), nudge=serving.make_due
        )
        for name in names:
            await serving.poll(name)

    assert [name for name in names if server.mailbox(name).mails] == []
    came = {name: len(target.deliveries) for name, target in targets.items()}
    assert came.pop("silent") <= 3
    assert came.pop("dripping") <= 3
    assert set(came.values()) == {2}


def _states(status: Status, target: str) -> dict[str, int]:
    return status.deliveries.get(target, {})
