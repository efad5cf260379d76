"""Times and sizes as they are written."""

import pytest

from common.measures import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "octets"), [("1B", 1), ("500kB", 500_000), ("50 MB", 50_000_000), ("1GiB", 2**30), (7, 7)]
)
def test_sizes_are_decimal_unless_they_say_otherwise(text: object, octets: int) -> None:
    """MB is a million octets, MiB is 1,048,576; a bare number is octets."""
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "50", "50M", "MB", "-1MB", "1 kiB ish", True, None, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    """A unit is needed, and known."""
    with pytest.raises(ValueError, match="is not a size such as"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("14d", 1_209_600), (5, 5)])
def test_times_have_one_unit(text: object, seconds: int) -> None:
    """A bare number is seconds."""
    assert parse_duration(text) == seconds
