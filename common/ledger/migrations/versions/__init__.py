"""The ledger's migrations, newest last."""
