"""Writes docs/replies.md anew: python -m tests.replies."""

import asyncio
import sys

from tests.reference.blocks import DOCS
from tests.replies.matrix import page


def main() -> int:
    """Write the page."""
    (DOCS / "replies.md").write_text(asyncio.run(page()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
