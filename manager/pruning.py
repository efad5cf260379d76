"""Forgets mails that left their server long ago, beside whatever runs: what the sweeper does by itself, now."""

from common.config import Config
from common.failures import PpsError
from common.ledger.pruning import prunable
from common.ledger.restoring import origin_of
from manager.decisions import require_ledger
from manager.profile_changes import opened_ledger


async def count(config: Config, seconds: int) -> int:
    """Return how many mails would be forgotten; raises PpsError."""
    require_ledger(config)
    async with opened_ledger(config) as ledger:
        return await ledger.read(lambda connection: prunable(connection, seconds))


async def prune(config: Config, seconds: int) -> int:
    """Forget them, batch by batch, and return how many; raises PpsError."""
    require_ledger(config)
    pruned = 0
    async with opened_ledger(config) as ledger:
        if (await ledger.read(origin_of)).withheld:
            raise PpsError(
                f"{config.path}: the ledger was restored: read `pps verify` first, then `pps verify --accept`"
            )
        while done := await ledger.prune(seconds):
            pruned += done
    return pruned
