"""How long the ledger remembers a mail that left its server: never for less than a UIDL may take to come back."""

from typing import Annotated, Final

from pydantic import BeforeValidator

from common.key_form import Form
from common.measures import SECONDS, parse_duration

SHORTEST: Final = 30 * 86400
"""Seconds: a UIDL that the server lists again within it is recognised, and its mail isn't delivered twice."""

LONGEST: Final = 3650 * 86400
"""Seconds: ten years."""

USUAL: Final = 90 * 86400
"""Seconds: as far back as a recipient asks where a mail has gone."""


def parse_retention(value: object) -> int:
    """Return seconds from "90d"; raise ValueError for what is no time, too short or too long."""
    seconds = parse_duration(value)
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"{value} is not between {SHORTEST // SECONDS['d']}d and {LONGEST // SECONDS['d']}d")
    return seconds


Retention = Annotated[int, BeforeValidator(parse_retention), Form("time", "30d to 3650d")]
