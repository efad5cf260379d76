"""Every key of pps.toml as rows of Markdown tables, read off the models that check them."""

from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from common.config import Service
from common.config_errors import listed
from common.key_form import Form
from common.notice_settings import Notices
from common.profile import Profile
from common.target_settings import TargetSettings

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "[service]": Service,
    "[target.NAME]": TargetSettings,
    "[notices]": Notices,
    "[[profile]]": Profile,
}

_KINDS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60}
_HEADER: Final = ("key", "form", "default", "limits", "what it says")


def keys() -> str:
    """Return a table for each section."""
    return "\n\n".join(f"### `{section}`\n\n{_table(model)}" for section, model in SECTIONS.items())


def _table(model: type[BaseModel]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(line(cells) for cells in (_HEADER, ("---",) * len(_HEADER), *rows))


def line(cells: tuple[str, ...]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    form = _form(field)
    limits = ", ".join(filter(None, [form.limits, *_limits(field)]))
    return (f"`{name}`", form.kind, _default(field, form), limits, field.description or "")


def _form(field: FieldInfo) -> Form:
    said = _said(field.metadata) or _said(_parts(field.annotation))
    return said or Form(_kind(field.annotation))


def _parts(annotation: object) -> Iterator[object]:
    """Walk through unions and Annotated to what they are made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _said(parts: Any) -> Form | None:  # noqa: ANN401 (pydantic's metadata is a list of anything)
    return next((part for part in parts if isinstance(part, Form)), None)


def _kind(annotation: object) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return listed([f'"{member.value}"' for member in annotation])
    if get_origin(annotation) in {Union, UnionType}:
        return listed([_kind(part) for part in get_args(annotation) if part is not NoneType])
    if get_origin(annotation) in {tuple, list}:
        return "list of texts"
    if get_origin(annotation) is dict:
        return "table"
    return _KINDS.get(annotation, "text") if isinstance(annotation, type) else "text"


def _limits(field: FieldInfo) -> Iterator[str]:
    for part in field.metadata:
        match part:
            case annotated_types.Ge(ge=least):
                yield f"at least {least}"
            case annotated_types.Le(le=most):
                yield f"at most {most}"
            case annotated_types.MaxLen(max_length=most):
                yield f"at most {most}{' characters' if field.annotation is str else ''}"


def _default(field: FieldInfo, form: Form) -> str:
    if field.is_required():
        return "**must be set**"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{_toml(value, form)}`"


def _toml(value: object, form: Form) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() if form.kind == "time":
            return f'"{_time(value)}"'
        case int() | float():
            return str(value)
        case tuple() | list():
            return f"[{', '.join(_text(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{key} = {_text(item)}' for key, item in value.items())}}}"
        case _:
            return _text(value)


def _text(value: object) -> str:
    return f'"{value.value if isinstance(value, Enum) else value}"'


def _time(seconds: int) -> str:
    unit, size = next(((unit, size) for unit, size in _UNITS.items() if seconds % size == 0), ("s", 1))
    return f"{seconds // size}{unit}"
