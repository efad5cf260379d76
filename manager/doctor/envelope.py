"""Checks of a catch-all's envelope fields against a sample of its own mail: headers are read with TOP, nothing else."""

from common.config import Config
from common.failures import PpsError
from common.profile import Profile
from common.secrets import STORED
from manager.doctor.check import Check, ok, warning
from manager.envelope_advice import envelope_advice


async def envelope_checks(profile: Profile, config: Config) -> list[Check]:
    """Warn of a field that is believed and should not be, and tell of one that would be more exact than To and Cc."""
    if not profile.distribute or profile.password in {None, STORED}:
        return []
    area = f"profile {profile.name}"
    try:
        advice = await envelope_advice(profile, base=config.base)
    except PpsError as error:
        return [warning(area, f"its envelope fields can't be looked at: {error}")]
    hint = [ok(area, advice.hint)] if advice.hint else []
    return [*(warning(area, mend) for mend in advice.mends), *hint]
