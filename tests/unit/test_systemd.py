"""What systemd is told, over a socket as systemd opens it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.systemd import READY, Systemd
from tests.command import ROOT


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Return a datagram socket in a folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(60)
        yield bound


def test_a_state_is_one_datagram(listener: socket.socket, tmp_path: Path) -> None:
    """In the very words of sd_notify(3)."""
    Systemd.around({"NOTIFY_SOCKET": str(tmp_path / "notify")}).tell(READY)

    assert listener.recv(4096) == b"READY=1"


def test_an_abstract_socket_is_told_too() -> None:
    """Its name begins with an @ in the environment, and with a NUL for the kernel."""
    name = f"pps-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0{name}")
        bound.settimeout(60)

        Systemd.around({"NOTIFY_SOCKET": f"@{name}"}).tell(READY)

        assert bound.recv(4096) == b"READY=1"


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    """Neither where nobody is named, nor where nobody listens any more."""
    Systemd.around({}).tell(READY)
    Systemd.around({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY)


@pytest.mark.parametrize(
    ("environment", "watchdog"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "/s"}, None),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "60000000"}, 60.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "60000000"}, None),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_as_the_environment_says(environment: dict[str, str], watchdog: float | None) -> None:
    """It may be meant for another process, or not be there at all."""
    assert Systemd.around(environment).watchdog == watchdog


@pytest.mark.parametrize("unit", ["pps.service", "pps@.service"])
def test_the_services_have_systemd_listen(unit: str) -> None:
    """And let the process speak to it: without AF_UNIX, it would never be ready."""
    settings = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy" / "systemd" / unit).read_text().splitlines()
        if "=" in line and line[0] != "#"
    )

    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 30
    assert "AF_UNIX" in settings["RestrictAddressFamilies"].split()
