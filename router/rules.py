"""The rules by which somebody becomes a recipient: names that logs, metrics and `pps explain --json` share."""

from enum import StrEnum


class Rule(StrEnum):
    """What made somebody a recipient: where the name stood, unless the name meant somebody else."""

    TO_CC = "to-cc"  # named in To or Cc, in a local domain
    BCC = "bcc"  # named in Bcc
    RESENT = "resent"  # named in the newest Resent-To, Resent-Cc
    ENVELOPE = "envelope"  # named in a field that the provider wrote
    LIST = "list"  # the mail came over a mailing list that stands for somebody
    ALIAS = "alias"  # an alias was named
    SAME_USERS = "same-users"  # named in another local domain than the first, which has the same users
    SUBADDRESS = "subaddress"  # named with a subaddress, which was stripped
    UNKNOWN = "unknown"  # a name that no user has: for the fallback user
    FALLBACK = "fallback"  # nobody was named
    ALL = "all"  # the mailbox is not distributed
