"""What fetcher, router and deliverer share: messages, broker, ledger, blobs, config. Imports no worker."""

__version__ = "0.1.0"
