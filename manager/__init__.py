"""The POP3 Pull Manager: the command line, and `pps run`, which composes the workers in one process."""
