"""Tests: unit, contract (one suite on every broker and ledger), dialogues, crash and integration."""
