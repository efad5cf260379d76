"""What one check found. A check never raises: whatever is wrong is what it tells."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # mail flows, but somebody should look
    PROBLEM = "problem"  # mail doesn't flow, or not all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the page. Holds no secret."""

    area: str  # "config", "ledger", "target local", "profile office"
    grade: Grade
    says: str  # what was found; of a problem, with its mend


def ok(area: str, says: str) -> Check:
    """Return a check that found all well."""
    return Check(area=area, grade=Grade.OK, says=says)


def warning(area: str, says: str) -> Check:
    """Return a check that found what somebody should look at."""
    return Check(area=area, grade=Grade.WARNING, says=says)


def problem(area: str, says: str) -> Check:
    """Return a check that found what holds up mail."""
    return Check(area=area, grade=Grade.PROBLEM, says=says)
