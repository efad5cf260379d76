"""How all stands, read from the ledger beside whatever runs; nothing is made just to look into it."""

from pathlib import Path
from typing import Final

from common.config import Config
from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.records import Status
from common.log import open_log

_SQLITE: Final = "sqlite:///"


async def read_status(config: Config) -> Status:
    """Return how all stands; raises PpsError where there is no ledger yet, or it doesn't answer."""
    _require_ledger(config)
    log = open_log("-", config.base, level="error")
    ledger = await Ledger.open(config.service.ledger, base=config.base, log=log)
    try:
        return await ledger.status()
    finally:
        await ledger.close()


def _require_ledger(config: Config) -> None:
    url = config.service.ledger
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        raise PpsError(f"{config.path}: nothing ran yet: `pps run` or `pps pull` makes the ledger")
