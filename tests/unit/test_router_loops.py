"""Loops: a mail that we delivered before, and that came back."""

from collections.abc import Callable

import pytest

from router.headers import fields_of
from router.loops import loop_reason

OURS = "01900000-0000-7000-8000-00000000000a"
OTHERS = "01900000-0000-7000-8000-00000000000b"
DELIVERY = "01900000-0000-7000-8000-0000000000dd"


def received(recipient: str, installation: str = OURS) -> bytes:
    """Return the trace field of a delivery."""
    return (
        f"Received: from pop3.far.example by {installation}.pps.invalid (PPS) with POP3 id {DELIVERY}\r\n"
        f"\tfor <{recipient}>; Mon, 05 Jan 2026 10:00:00 +0000\r\n"
    ).encode()


def short_trace(recipient: str, installation: str = OURS) -> bytes:
    """Return the trace field where Received is turned off."""
    return f"X-PPS-Trace: {installation} {DELIVERY} {recipient}\r\n".encode()


def reason(header: bytes, *recipients: str) -> str | None:
    """Return why a mail with this header is in a loop."""
    return loop_reason(fields_of(header + b"Subject: x\r\n\r\n"), OURS, recipients)


@pytest.mark.parametrize("trace", [received, short_trace])
def test_the_same_recipient_twice_is_a_loop(trace: Callable[[str], bytes]) -> None:
    """Once is somebody who had the mail sent back to himself."""
    assert reason(trace("ann@local.example"), "ann@local.example") is None
    assert reason(trace("ann@local.example") * 2, "bob@local.example") is None
    assert reason(trace("ann@local.example") * 2, "bob@local.example", "ann@local.example") == (
        "loop: delivered to ann@local.example 2 times before"
    )


def test_five_traces_are_a_loop_whoever_they_were_for() -> None:
    """A circle through several users comes by each of them only once a turn."""
    traces = [received(f"user{number}@local.example") for number in range(5)]

    assert reason(b"".join(traces[:4]), "ann@local.example") is None
    assert reason(b"".join(traces), "ann@local.example") == "loop: this installation delivered the mail 5 times before"


def test_another_installation_is_no_loop() -> None:
    """PPS after PPS, each with its own mailbox, is a chain."""
    assert reason(received("ann@local.example", OTHERS) * 9, "ann@local.example") is None
    assert reason(short_trace("ann@local.example", OTHERS) * 9, "ann@local.example") is None


def test_refolded_traces_are_recognised() -> None:
    """Servers on the way may fold anew and change the case of names."""
    trace = received("Ann@Local.Example").replace(b" by ", b"\r\n\tBY ").replace(b"\r\n\tfor", b" for") * 2

    assert reason(trace, "ann@local.example") is not None


def test_too_many_hops_are_a_loop() -> None:
    """Somebody else's loop, perhaps, but one that we must not keep alive."""
    hop = b"Received: from a.example by b.example; Mon, 05 Jan 2026 10:00:00 +0000\r\n"

    assert reason(hop * 50, "ann@local.example") is None
    assert reason(hop * 51, "ann@local.example") == "loop: more than 50 Received fields"


def test_a_recipient_that_no_trace_can_spell_is_found() -> None:
    """Traces are ASCII: other characters stand as "?"."""
    assert reason(short_trace("j?rgen@local.example") * 2, "jürgen@local.example") is not None
