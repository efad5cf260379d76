"""Whether mail may come back to where it was fetched: pure, told by host names and ports alone, so never certain."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from common.profile import Profile
from common.target_settings import TargetSettings
from common.target_url import TargetUrl, Transport, parse_target
from manager.doctor.check import Check, warning

_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def loop_checks(profiles: Iterable[Profile], targets: Mapping[str, TargetSettings]) -> Iterator[Check]:
    """Warn of each enabled profile that fetches from the host it delivers to."""
    for profile in profiles:
        settings = targets.get(profile.target)
        if profile.enabled and settings is not None and _is_same(profile.server.host, parse_target(settings.url)):
            yield warning(
                f"profile {profile.name}",
                f"it fetches from {profile.server.host} and delivers there too ([target.{profile.target}]): make sure "
                f"that no recipient's mailbox is {profile.user}'s, or its mail goes round in a circle",
            )


def _is_same(host: str, target: TargetUrl) -> bool:
    if target.transport is Transport.MAILDIR or not target.host:
        return host in _LOCAL
    return host == target.host.lower() or (host in _LOCAL and target.loopback)
