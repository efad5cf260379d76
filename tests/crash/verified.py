"""What `pps verify` says after a fault: no kill may leave anything in ledger, blobs or Maildirs that must not be."""

import json
from pathlib import Path

from tests.command import pps
from tests.crash.scene import ENVIRONMENT


def unaccounted(folder: Path, *, but_for: frozenset[str] = frozenset()) -> str:
    """Return what it found in an installation, "" if all is accounted for but some kinds; works beside the service."""
    ended = pps("verify", "--json", folder=folder, environment=ENVIRONMENT, seconds=600)
    try:
        found = json.loads(ended.out)
    except ValueError:
        return f"verify: exit {ended.code}: {ended.err}"
    well = ended.code == 0 or (not found["unlooked"] and found["kinds"].keys() <= but_for)
    return "" if well else f"verify: exit {ended.code}: {ended.out}{ended.err}"
