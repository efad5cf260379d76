"""How a notice of our own is recognised where it comes back by way of a remote mailbox: it must not beget another."""

from typing import Final

NOTICE_FIELD: Final = "X-PPS-Notice"
"""The header field of every notice; it holds the installation's id."""

NOTICE_CAME_BACK: Final = "loop: a notice of this installation came back"
"""Why such a mail is set aside. What is set aside for this reason is never told of by a notice."""
