"""Registers the servers that tests may ask for by name: dovecot, mailbox, postgres, database."""

pytest_plugins = ["tests.servers.fixtures_dovecot", "tests.servers.fixtures_postgres"]
