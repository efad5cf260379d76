"""How configuration keys are written and put together: their form, for people, and the parts of a section."""

from typing import Final, NamedTuple

from pydantic import ConfigDict

PART: Final = ConfigDict(defer_build=True)
"""Of keys that a section is made of: nothing is checked against them alone, so no validator is built for them."""

WHOLE: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=False)
"""Of a section: unknown keys are errors, and what was typed is not repeated in them."""


class Form(NamedTuple):
    """The form of a key's value, for people: docs/configuration.md shows it. Pydantic passes over it."""

    kind: str
    limits: str = ""
