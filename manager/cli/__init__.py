"""The `pps` command: one file a group of commands."""
