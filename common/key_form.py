"""How a configuration key's value is written, where its type doesn't tell: beside the validator that reads it."""

from typing import NamedTuple


class Form(NamedTuple):
    """The form of a key's value, for people: docs/configuration.md shows it. Pydantic passes over it."""

    kind: str
    limits: str = ""
