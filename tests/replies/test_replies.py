"""Every answer at every stage has the consequence that docs/replies.md tells."""

from tests.reference.blocks import DOCS
from tests.replies.matrix import page


async def test_each_answer_has_the_consequence_that_the_page_tells() -> None:
    """About nine hundred deliveries; a change of policy shows as a change of the page."""
    assert await page() == (DOCS / "replies.md").read_text(), "run `python -m tests.replies`, and judge each change"
