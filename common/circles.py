"""Whether mail would come back to the very mailbox that it was fetched from, where that is certain. Pure."""

from collections.abc import Iterable, Mapping

from common.failures import UsageError
from common.profile import Profile
from common.target_url import parse_target


def check_circles(profiles: Iterable[Profile], urls: Mapping[str, str]) -> None:
    """Raise UsageError for a profile whose mail would certainly come back to the mailbox that it is fetched from.

    On this machine a port may lead anywhere, through a tunnel say: there it is only `pps doctor` that warns.
    """
    for profile in profiles:
        url = parse_target(urls[profile.target])
        same_host = not url.loopback and url.host.lower() == profile.server.host
        if profile.enabled and same_host and _is_same_user(profile.fallback, profile.user):
            raise UsageError(
                f'[[profile]] "{profile.name}" local_user: is the very mailbox that is fetched from {url.host}, so '
                "mail would go round in a circle: name another user, or another target"
            )


def _is_same_user(one: str, other: str) -> bool:
    (local, _, domain), (other_local, _, other_domain) = (text.lower().partition("@") for text in (one, other))
    return local == other_local and (domain == other_domain or not domain or not other_domain)
