"""Deliverer workers: hand one mail to one recipient over LMTP, SMTP or Maildir, and report how it went."""
