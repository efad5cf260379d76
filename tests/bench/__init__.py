"""Measurements: figures for people, which depend on the machine. No tests."""
