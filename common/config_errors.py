"""How a wrong configuration is told: one line that names the section, the key and the mend. Never a secret's value."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from common.messages import one_line

MAX_LINE: Final = 500
"""Characters of a complaint: a long value is cut, so that the line stays one that a person reads."""

MAX_KNOWN: Final = 12
"""Known words that are told where none is near: more are no help."""

_PLACE: Final = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)

_TOML_MENDS: Final = {
    "Invalid value": 'texts stand in quotes, as in name = "office"',
    "Cannot overwrite a value": "the key is there twice, keep one",
    "Cannot declare": "the section is there twice, keep one",
    "Expected '=' after a key": 'write key = "value"',
    "Unclosed array": "a list ends with ]",
    "Unterminated string": "a text ends with a quote on its line",
    r"Illegal character '\n'": "a text ends with a quote on its line",
    r"Illegal character '\r'": "a text ends with a quote on its line",
    "Illegal character": "take the control character out",
    "Found invalid character": "take the control character out",
    "Invalid statement": 'a line is [section], key = "value" or # comment',
    "Expected newline": "one key a line",
}

_COMPLAINTS: Final = {
    "string_type": "is a text: put it in quotes",
    "bool_type": "is true or false, without quotes",
    "int_type": "is a whole number, without quotes",
    "int_parsing": "is a whole number, without quotes",
    "int_from_float": "is a whole number, without quotes",
    "string_pattern_mismatch": "holds a character that may not stand there",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "holds more than {max_length} entries",
    "greater_than_equal": "is less than {ge}, the least",
    "less_than_equal": "is more than {le}, the most",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the mend for an unknown word: 'did you mean "office"?', or else the known words."""
    words = list(known)
    matches = difflib.get_close_matches(word[:64], words, n=1)
    if matches:
        return f'did you mean "{matches[0]}"?'
    if len(words) > MAX_KNOWN:
        return "docs/configuration.md has them all, and so has the file that `pps init` writes"
    return f"known are {', '.join(words)}" if words else "none is defined"


def toml_complaint(error: tomllib.TOMLDecodeError) -> str:
    """Return where a file breaks the rules of TOML, and what is probably meant."""
    match = _PLACE.fullmatch(str(error))
    what = one_line(match["what"] if match else str(error))
    place = f"line {match['line']}, column {match['column']}" if match and match["line"] else "the end of the file"
    mend = next((mend for start, mend in _TOML_MENDS.items() if what.startswith(start)), "mend the TOML there")
    return f"{place}: {what}: {mend}"


def model_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """Return "key: what is wrong: mend" for the most telling of a model's errors.

    An unknown key comes first: where it is a slip of the pen, the missing key is only its echo.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    key = ".".join(str(part) for part in first["loc"])
    kind, context = first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        line = f'unknown key "{key}": {nearest(key, model.model_fields)}'
    elif kind == "missing":
        line = f"{key} is missing: {_gloss(model, key)}"
    elif kind == "value_error":
        line = f"{key}: {context['error']}" if key else str(context["error"])
    elif kind == "enum":
        line = f"{key}: {_shown(first['input'])} is not {_choices(model, key)}"
    else:
        line = f"{key}: {_COMPLAINTS.get(kind, first['msg']).format_map(context)}"
    return one_line(line, MAX_LINE)


def _gloss(model: type[BaseModel], key: str) -> str:
    description = model.model_fields[key].description or "it is needed"
    return description[0].lower() + description[1:].rstrip(".")


def _choices(model: type[BaseModel], key: str) -> str:
    annotation = model.model_fields[key].annotation
    for kind in (annotation, *get_args(annotation)):  # "X | None" has X among its arguments
        if isinstance(kind, type) and issubclass(kind, Enum):
            return listed([str(member.value) for member in kind])
    return "one of the known words"


def listed(words: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _shown(value: Any) -> str:  # noqa: ANN401 (whatever TOML holds)
    return f'"{value}"' if isinstance(value, str) else str(value)


def meant(url: str, known: Sequence[str]) -> str:
    """Return ': did you mean "sqlite:"?' for a slip of the pen in a scheme, else nothing."""
    scheme, colon, _ = url.partition(":")
    near = difflib.get_close_matches(scheme[:16].lower(), known, n=1)
    return f': did you mean "{near[0]}:"?' if near and near[0] + ":" != scheme + colon else ""
