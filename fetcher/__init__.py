"""Fetcher workers: pull raw mail over POP3, keep custody of it, delete it once every recipient has a copy."""
