"""The sections of a getmailrc, as Python's RawConfigParser reads them, with the line of each key. Total and linear."""

import re
from dataclasses import dataclass, field
from typing import Final

_SECTION: Final = re.compile(r"\[([^\]]+)\]")
_KEY: Final = re.compile(r"([^\s:=][^:=]*?)\s*[:=]\s*(.*)")
_TEXT: Final = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_ESCAPED: Final = re.compile(r"\\(['\"\\])")


@dataclass(slots=True)
class Value:
    """What one key says, and where."""

    text: str
    line: int

    @property
    def texts(self) -> list[str]:
        """Return the quoted texts of a tuple, in order: `("/bin/cat", "a")`."""
        found = [one or other for one, other in _TEXT.findall(self.text)]
        return [_ESCAPED.sub(r"\1", text) for text in found]

    @property
    def on(self) -> bool:
        """Whether it says yes, in any of the ways that getmail reads."""
        return self.text.lower() in {"1", "yes", "true", "on"}

    @property
    def number(self) -> int:
        """Return the whole number that it is, else 0."""
        return int(self.text) if re.fullmatch(r"[0-9]{1,18}", self.text) else 0


@dataclass(slots=True)
class Section:
    """One section; keys are lower-case."""

    name: str
    line: int
    values: dict[str, Value] = field(default_factory=dict)

    def text(self, key: str, default: str = "") -> str:
        """Return a key's text."""
        return self.values[key].text if key in self.values else default


@dataclass(slots=True)
class Sections:
    """A whole file."""

    found: dict[str, Section] = field(default_factory=dict)
    odd: list[int] = field(default_factory=list)  # lines that are neither section, key nor comment

    def section(self, name: str) -> Section | None:
        """Return a section by its name, in square brackets or without."""
        return self.found.get(name.strip().strip("[]"))


def read_sections(source: str) -> Sections:
    """Read a getmailrc."""
    read = Sections()
    section: Section | None = None
    value: Value | None = None
    for number, line in enumerate(source.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if value and line[0].isspace():
            value.text = f"{value.text}\n{bare}" if len(value.text) < _MOST else value.text
        elif match := _SECTION.match(bare):
            section, value = read.found.setdefault(match[1], Section(match[1], number)), None
        elif section and (match := _KEY.fullmatch(bare)):
            value = Value(match[2], number)
            section.values[match[1].lower()] = value
        else:
            read.odd.append(number)
            value = None
    return read


_MOST: Final = 16 * 1024
"""Characters of one value: tuples of hundreds of addresses fit; beyond, joining lines would cost their square."""
