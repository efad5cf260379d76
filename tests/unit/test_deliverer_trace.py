"""The trace field: the same at each attempt, and readable for the router that looks for loops."""

from deliverer.trace import trace_field
from tests.deliveries import DELIVERY, INSTALLATION, job_of


def test_received_field_names_installation_delivery_and_recipient() -> None:
    """The field is RFC 5321's, its date the delivery's own, so that each attempt makes equal bytes."""
    field = trace_field(job_of(delivery_id=DELIVERY), INSTALLATION, received=True)

    assert (
        field
        == (
            f"Received: from pop.far.example by {INSTALLATION}.pps.invalid (PPS) with POP3 id {DELIVERY}\r\n"
            "\tfor <ann@local.example>; Sun, 03 Nov 2024 06:40:42 +0000\r\n"
        ).encode()
    )


def test_recipient_that_is_not_ascii_is_not_named() -> None:
    """A Received field that names it would be one only SMTPUTF8 may carry."""
    field = trace_field(job_of(recipient="jürgen@local.example"), INSTALLATION, received=True)

    assert field.isascii()
    assert b"for <" not in field
    assert b";\r\n\t" in field


def test_without_received_one_line_stays() -> None:
    """Loops are found even where the administrator wants no Received field."""
    field = trace_field(job_of(delivery_id=DELIVERY), INSTALLATION, received=False)

    assert field == f"X-PPS-Trace: {INSTALLATION} {DELIVERY} ann@local.example\r\n".encode()
