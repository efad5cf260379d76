"""How long to wait before trying again: doubling, bounded, jittered, so that many workers don't come back at once."""

import random


def back_off(failures: int, *, first: float = 1.0, most: float = 30.0) -> float:
    """Return seconds to wait after n failures in a row: half to all of `first`, doubled for each, up to `most`."""
    bound = min(most, first * 2.0 ** min(failures - 1, 32))
    return bound * random.uniform(0.5, 1.0)  # noqa: S311 (spreads retries; nothing secret)
