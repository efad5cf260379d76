"""What `pps verify` says after a fault: no kill may leave anything in ledger, blobs or Maildirs that must not be."""

from pathlib import Path

from tests.command import pps
from tests.crash.scene import ENVIRONMENT


def unaccounted(folder: Path) -> str:
    """Return what it found in an installation, "" if all is accounted for; it works beside the service."""
    ended = pps("verify", folder=folder, environment=ENVIRONMENT, seconds=600)
    well = ended.code == 0 and "all accounted for: " in ended.out
    return "" if well else f"verify: exit {ended.code}: {ended.out}{ended.err}"
