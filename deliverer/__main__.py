"""Wires the deliverer role: `python -m deliverer` is `pps deliverer`."""
