"""Registers the servers that tests may ask for by name: dovecot, mailbox, postgres, database, rabbitmq, bucket."""

from importlib.util import find_spec

_FIXTURES = [f"tests.servers.fixtures_{server}" for server in ("dovecot", "postgres", "rabbitmq", "s3")]

pytest_plugins = [module for module in _FIXTURES if find_spec(module)]
