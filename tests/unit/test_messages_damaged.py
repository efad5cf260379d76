"""Messages that somebody damaged: what `make messages` tries a million times, here some thousand times."""

import pytest

from tests.bench.million_messages import GROWING, MOST_SECONDS, decode_generated, longest

INPUTS = 5_000


def test_a_damaged_message_is_a_message_or_one_line_of_refusal() -> None:
    """Nothing else is raised; what is still a message travels on unchanged. Some are, or the damage was too much."""
    assert INPUTS // 100 < decode_generated(INPUTS) < INPUTS


@pytest.mark.parametrize("name", GROWING)
def test_the_largest_message_takes_moments(name: str) -> None:
    """Whatever its policy is made of: keys, lists, texts, wildcards, depth."""
    assert longest(name) < MOST_SECONDS
