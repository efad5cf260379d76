"""What was measured, and what it says: medians, spreads, ratios, and whether an aim is met. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

OURS: Final = "PPS"


@dataclass(slots=True, kw_only=True)
class Series:
    """One quantity of one program, a value a round."""

    program: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds of CPU a round
    peak_mb: float = 0.0
    faults: list[str] = field(default_factory=list)  # what was lost, doubled or left

    @property
    def median(self) -> float | None:
        """The middle of the rounds; None where it can't be trusted."""
        return statistics.median(self.values) if self.values and not self.faults else None

    @property
    def spread(self) -> float | None:
        """How far the rounds lie apart, as a part of the median: a loaded machine shows in it."""
        middle = self.median
        return (max(self.values) - min(self.values)) / middle if middle and len(self.values) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted of one figure: of a ratio to the best of some programs, or of one of our own figures."""

    label: str
    bound: float
    of: tuple[str, ...] = ()  # programs; with none, `own` names one of our figures
    own: str = ""
    most: bool = False  # the bound is the most that is allowed

    @property
    def text(self) -> str:
        """Say it."""
        return f"{'≤' if self.most else '≥'} {self.bound:g} {self.label}"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All figures of one workload."""

    key: str
    title: str
    unit: str
    series: list[Series]
    missing: list[str] = field(default_factory=list)  # programs that aren't installed
    own: dict[str, float] = field(default_factory=dict)  # figures of ours alone
    aside: dict[str, float] = field(default_factory=dict)  # what the relay and other servers took
    goals: Sequence[tuple[Goal, ...]] = ()  # of each tuple one must be met

    def ratio(self, program: str) -> float | None:
        """Return how many times as fast as a program we are; None where either side lost or doubled a mail."""
        ours, theirs = self._median(OURS), self._median(program)
        return ours / theirs if ours and theirs else None

    @property
    def right(self) -> bool:
        """Whether all our own mail was accounted for."""
        return not any(one.faults for one in self.series if one.program.startswith(OURS))

    def value(self, goal: Goal) -> float | None:
        """Return the figure that a goal is about."""
        if goal.own:
            return self.own.get(goal.own) if self.right else None
        ratios = [ratio for program in goal.of if (ratio := self.ratio(program)) is not None]
        return min(ratios, default=None)

    def met(self, goals: tuple[Goal, ...]) -> bool | None:
        """Return whether one of the goals is met; None where none could be judged."""
        judged = [
            value <= goal.bound if goal.most else value >= goal.bound
            for goal in goals
            if (value := self.value(goal)) is not None
        ]
        return any(judged) if judged else None

    def document(self, *, whole: bool = True) -> dict[str, Any]:
        """Return all that a reader of the JSON may want; no aim is judged by a part of the mails."""
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "programs": [self._row(one) for one in self.series],
            "missing": self.missing,
            "own": self.own,
            "aside": self.aside,
            "aims": [
                {
                    "text": ", or ".join(goal.text for goal in goals),
                    "values": [self.value(goal) for goal in goals],
                    "met": self.met(goals) if whole else None,
                }
                for goals in self.goals
            ],
        }

    def _row(self, one: Series) -> Mapping[str, Any]:
        return {
            "name": one.program,
            "unit": self.unit,
            "values": one.values,
            "median": one.median,
            "spread": one.spread,
            "ratio": self.ratio(one.program),
            "cpu": statistics.median(one.cpu) if one.cpu else None,
            "peak_mb": one.peak_mb or None,
            "faults": one.faults,
        }

    def _median(self, program: str) -> float | None:
        return next((one.median for one in self.series if one.program == program), None)
