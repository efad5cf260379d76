"""PPS and its peers, each in turn on the same mailboxes in one run: `make bench`. No tests."""
