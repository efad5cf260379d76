"""Conversations with POP3 servers, one a file, and what comes of each."""
